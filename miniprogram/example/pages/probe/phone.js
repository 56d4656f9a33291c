/* Ask WeChat on this phone, so that nothing hangs, nothing throws, and no id is shown whole. */

const TIMEOUT = 12000

/**
 * Call a `wx` function; resolves to `{ result }` or `{ failed }`, a sentence, and never rejects.
 * `owner` is the object that has the function, if it is not `wx`.
 */
function call (name, options, owner = wx) {
  return new Promise(resolve => {
    if (!owner || typeof owner[name] !== 'function') return resolve({ failed: `这个版本的微信没有 ${name}` })
    const timer = setTimeout(() => resolve({ failed: `${name} 过了 ${TIMEOUT / 1000} 秒没有回应` }), TIMEOUT)
    const end = value => {
      clearTimeout(timer)
      resolve(value)
    }
    const success = result => end({ result: result || {} })
    const fail = error => end({ failed: describe(error) })
    try {
      owner[name](Object.assign({}, options, { success, fail }))
    } catch (error) {
      end({ failed: describe(error) })
    }
  })
}

/** Return what a failure says, with its numbers. */
function describe (error) {
  const { errMsg, message, code, errCode, errno } = error || {}
  const numbers = [code, errCode, errno].filter(number => number !== undefined)
  return hideIds([errMsg || message || String(error)].concat(numbers).join(' '))
}

/** Return the first four characters of an id. */
function short (id) {
  return id ? `${String(id).slice(0, 4)}…` : '（无）'
}

/** Cut everything in a text that may be an id: long words with digits. */
function hideIds (text) {
  return text.replace(/[\w-]{12,}/g, word => /\d/.test(word) ? short(word) : word)
}

module.exports = { call, describe, hideIds, short }
