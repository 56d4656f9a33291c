const { baseUrl, demoCode } = require('../config')

/** Return the server's address for this version of the mini-program. */
function address () {
  const { envVersion } = wx.getAccountInfoSync().miniProgram
  return baseUrl[envVersion]
}

function send (path, options) {
  return new Promise((resolve, reject) => {
    wx.request(Object.assign({ url: `${address()}/api/v1${path}` }, options, { success: resolve, fail: reject }))
  })
}

/** Log in with a code, and return the token. */
async function logIn (code) {
  const { data } = await send('/login', { method: 'POST', data: { code } })
  return data.token
}

const logInToDemo = demoCode ? () => logIn(demoCode) : undefined

module.exports = { logIn, logInToDemo, send }
