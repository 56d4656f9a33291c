module.exports = 'from the package'
