'use strict'
/*
 * groupsite's client for WeChat mini-programs: one file, no dependencies.
 *
 *   phone    `wx` as promises, its failures as GroupsErrors
 *   network  at most six requests at once, GETs retried
 *   session  one log-in at a time, a token stored between runs
 *   enter    which group the mini-program was opened from
 *
 * index.d.ts documents and types every method; this file is checked against it.
 */

/** @typedef {import('./index').Groups} Groups */

const MIN_BASE_LIBRARY = '2.17.3'

const MAX_REQUESTS = 6
const TIMEOUT = 10000
const UPLOAD_TIMEOUT = 60000
const GRACE = 2000

// A GET is retried after these delays, unless the server asks for another one of at most MAX_DELAY.
const RETRY_DELAYS = [400, 1200]
const MAX_DELAY = 5000

const GROUP_SCENES = [1008, 1044, 1096, 1158, 1160, 1185]
const SINGLE_CHAT_SCENE = 1007
const TIMELINE_SCENES = [1154, 1155]
const SINGLE_CHATS = [1, 2]
const GROUP_CHATS = [3, 4]

const LEFT_GROUP = 65206
const NOT_FROM_GROUP = 40097
const PRIVACY_REFUSED = [103, 104]
const PRIVACY_UNDECLARED = 112

const MESSAGES = {
  zh: {
    offline: '网络连接失败，请检查网络后重试',
    timeout: '网络太慢，请稍后重试',
    interrupted: '请求被中断，请重试',
    bad_answer: '服务器返回的内容无法识别，请稍后重试',
    domain_not_listed: '服务器域名尚未加入小程序后台的合法域名列表',
    left_group: '你已不在这个群里',
    not_from_group: '请从微信群里的卡片打开',
    no_ticket: '未能获取群信息，请从微信群里的卡片重新打开',
    privacy_refused: '你没有同意隐私保护指引，因此无法使用这项功能',
    privacy_undeclared: '小程序的隐私保护指引里没有声明这项信息，请联系开发者',
    unsupported: '微信版本过低，请更新微信后再试',
    get_token: '登录失败，请稍后重试',
    wx_fail: '微信没有完成这次操作，请重试',
    other: '出了点问题，请稍后重试'
  },
  en: {
    offline: 'No connection. Check the network and try again',
    timeout: 'The network is slow. Try again later',
    interrupted: 'The request was interrupted. Try again',
    bad_answer: "The server's response could not be read. Try again later",
    domain_not_listed: "The server's domain is not in this mini-program's list of allowed domains",
    left_group: 'You are no longer in this group',
    not_from_group: 'Open this from a card in a WeChat group',
    no_ticket: 'WeChat did not say which group this is. Open the card in the group again',
    privacy_refused: 'This is not available because you did not agree to the privacy notice',
    privacy_undeclared: 'The privacy notice does not declare this. Please contact the developers',
    unsupported: 'This version of WeChat is too old. Please update it',
    get_token: 'Logging in failed. Try again later',
    wx_fail: 'WeChat could not do this. Try again',
    other: 'Something went wrong. Try again later'
  }
}

class GroupsError extends Error {
  constructor (code, message, details) {
    super(message)
    this.name = 'GroupsError'
    this.code = code
    Object.assign(this, details)
  }
}

// The phone

function createPhone (wx) {
  const language = /^zh/i.test(baseInfo(wx).language || 'zh') ? 'zh' : 'en'

  function error (code, details) {
    const messages = MESSAGES[language]
    return new GroupsError(code, messages[code] || messages.other, details)
  }

  function failure (name, cause) {
    const { errMsg, errno } = cause || {}
    return error(codeOf(name, cause || {}), { errMsg: errMsg || String(cause), errno })
  }

  // Some calls (getGroupEnterInfo, getShareInfo) never return a promise, so all use callbacks.
  function call (name, options, onTask) {
    return new Promise((resolve, reject) => {
      if (typeof wx[name] !== 'function') throw error('unsupported', { errMsg: `wx.${name} is missing` })
      const callbacks = { success: resolve, fail: cause => reject(failure(name, cause)) }
      const task = wx[name](Object.assign({}, options, callbacks))
      if (onTask && task) onTask(task)
    })
  }

  // A call that never ends must not block the others.
  function withTimeout (name, promise, timeout = TIMEOUT) {
    return new Promise((resolve, reject) => {
      const expire = () => reject(error('timeout', { errMsg: `${name}: no response` }))
      const timer = setTimeout(expire, timeout + GRACE)
      const stopTimer = settle => value => {
        clearTimeout(timer)
        settle(value)
      }
      promise.then(stopTimer(resolve), stopTimer(reject))
    })
  }

  function callWithTimeout (name, options, onTask) {
    return withTimeout(name, call(name, options, onTask), options && options.timeout)
  }

  return { wx, language, error, failure, call, callWithTimeout, withTimeout }
}

function baseInfo (wx) {
  try {
    return (wx.getAppBaseInfo ? wx.getAppBaseInfo() : wx.getSystemInfoSync()) || {}
  } catch (_) {
    return {}
  }
}

function codeOf (name, cause) {
  const text = String(cause.errMsg || '')
  const errno = Number(cause.errno)
  // On some phones the numbers are strings, on others they are only in the text.
  const numbers = [errno, cause.errCode, cause.err_code].concat(text.match(/\b\d{5}\b/g) || []).map(Number)
  if (numbers.includes(LEFT_GROUP)) return 'left_group'
  if (numbers.includes(NOT_FROM_GROUP)) return 'not_from_group'
  if (PRIVACY_REFUSED.includes(errno) || /privacy permission is not authorized/.test(text)) return 'privacy_refused'
  if (errno === PRIVACY_UNDECLARED || /not declared in the privacy/.test(text)) return 'privacy_undeclared'
  if (/time ?out/i.test(text)) return 'timeout'
  if (/interrupted/i.test(text)) return 'interrupted'
  if (/domain list/i.test(text)) return 'domain_not_listed'
  if (/no such file|file not found|not exist/i.test(text)) return 'wx_fail'
  return name === 'request' || name === 'uploadFile' || /network|net::/i.test(text) ? 'offline' : 'wx_fail'
}

function isOlder (version, other) {
  const [numbers, otherNumbers] = [version, other].map(text => text.split('.').map(Number))
  const first = otherNumbers.findIndex((number, index) => number !== (numbers[index] || 0))
  return first >= 0 && (numbers[first] || 0) < otherNumbers[first]
}

function accountOf (wx) {
  try {
    return wx.getAccountInfoSync().miniProgram
  } catch (_) {
    return {}
  }
}

// The network

function createNetwork (phone, transport) {
  const waiting = []
  let active = 0

  async function withSlot (work) {
    if (active < MAX_REQUESTS) active += 1
    else await new Promise(resolve => waiting.push(resolve))
    try {
      return await work()
    } finally {
      // The slot goes to the next request in line, if there is one.
      if (waiting.length) waiting.shift()()
      else active -= 1
    }
  }

  async function callTransport (request) {
    try {
      return await transport(request)
    } catch (cause) {
      throw phone.failure('request', cause)
    }
  }

  async function send (request) {
    return readBody(await withSlot(() => transport
      ? phone.withTimeout('transport', callTransport(request))
      : phone.callWithTimeout('request', request)))
  }

  async function upload (options, onProgress) {
    const onTask = task => {
      if (onProgress && task.onProgressUpdate) task.onProgressUpdate(({ progress }) => onProgress(progress))
    }
    return readBody(await withSlot(() => phone.callWithTimeout('uploadFile', options, onTask)))
  }

  // wx.request calls `success` for every status, and wx.uploadFile gives its body as text.
  function readBody (response) {
    const status = response.statusCode
    if (status === 204) return null
    const body = parseBody(response.data)
    if (!(status >= 200 && status < 300)) throw errorFrom(response, body || {})
    if (!body) throw phone.error('bad_answer', { status })
    return body
  }

  function errorFrom (response, body) {
    const status = response.statusCode
    const error = phone.error(body.code || `http_${status}`, { status })
    if (body.detail) error.message = body.detail
    if (body.fields) error.fields = body.fields
    error.requestId = body.requestId || headerOf(response, 'x-request-id')
    error.retryAfter = Number(body.retryAfter || headerOf(response, 'retry-after')) || undefined
    return error
  }

  // Only a GET is retried: a POST whose response is lost may still have reached the server.
  async function sendWithRetries (request) {
    const startedAt = Date.now()
    for (const usualDelay of RETRY_DELAYS) {
      try {
        return await send(request)
      } catch (error) {
        const delay = error.retryAfter ? error.retryAfter * 1000 : usualDelay
        if (!isTemporary(error) || delay > MAX_DELAY || Date.now() - startedAt > TIMEOUT) throw error
        await sleep(delay)
      }
    }
    return send(request)
  }

  return {
    send: request => request.method === 'GET' ? sendWithRetries(request) : send(request),
    upload
  }
}

function isTemporary (error) {
  return isUnreachable(error) || [429, 502, 503, 504].includes(error.status)
}

function isUnreachable (error) {
  return ['offline', 'timeout', 'interrupted'].includes(error.code)
}

/** Return the object in a body, or null if there is none. */
function parseBody (data) {
  try {
    const value = typeof data === 'string' ? JSON.parse(data) : data
    return typeof value === 'object' ? value : null
  } catch (_) {
    return null
  }
}

function headerOf (response, name) {
  const header = response.header || {}
  const key = Object.keys(header).find(key => key.toLowerCase() === name)
  return key && header[key]
}

function sleep (milliseconds) {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}

// The session

/** Create a session; `fetchToken(reason)` logs in, `storage` keeps the token for the next run. */
function createSession (fetchToken, storage) {
  let current = storage.read()
  /** @type {Promise<string> | null} */
  let pending = null

  // Two log-ins at once would each make the other's session_key stale.
  function renew (reason) {
    const clearPending = () => { pending = null }
    const renewal = pending = fetchToken(reason).then(token => {
      current = token
      storage.write(token)
      return token
    })
    renewal.then(clearPending, clearPending)
    return renewal
  }

  return {
    async token () {
      return pending || current || renew('start')
    },
    /** Return a token other than `oldToken`, and fetch one unless another call already has. */
    async replace (oldToken, reason) {
      if (pending) return pending
      return current && current !== oldToken ? current : renew(reason)
    },
    forget () {
      current = null
      storage.remove()
    }
  }
}

// If the storage is full or blocked, the next start logs in again; nothing else is lost.
function createStorage (wx, key) {
  const ignoreErrors = work => {
    try {
      return work()
    } catch (_) {
      return null
    }
  }
  return {
    read: () => ignoreErrors(() => wx.getStorageSync(key)) || null,
    write: value => ignoreErrors(() => wx.setStorageSync(key, value)),
    remove: () => ignoreErrors(() => wx.removeStorageSync(key))
  }
}

// Entering

/** Create `enter`; `bind(fetchEnvelope, scene)` binds the group on the server. */
function createEnter (phone, bind, supported) {
  const { wx } = phone
  let visit = 0
  /** @type {{ key: string, entry: Promise<any> } | null} */
  let last = null

  // Counted on hide: listeners of the next show then all see a new visit, in whatever order they run.
  if (wx.onAppHide) wx.onAppHide(() => { visit += 1 })

  async function fetchEnvelope (shareTicket) {
    try {
      const result = await phone.callWithTimeout('getGroupEnterInfo')
      if (!result.encryptedData) throw phone.error('not_from_group', { errMsg: result.errMsg })
      return envelopeOf(result)
    } catch (error) {
      const isFinal = error.code === 'left_group' || error.code === 'privacy_refused'
      if (isFinal || !shareTicket) throw error
      return envelopeOf(await phone.callWithTimeout('getShareInfo', { shareTicket }))
    }
  }

  /** Return why these options cannot come from a group, or null if they can. */
  function reasonFromOptions (options) {
    const { scene, chatType, shareTicket } = options
    if (!supported) return 'unsupported'
    if (TIMELINE_SCENES.includes(scene)) return 'timeline'
    if (SINGLE_CHATS.includes(chatType)) return 'single_chat'
    if (shareTicket || GROUP_CHATS.includes(chatType) || GROUP_SCENES.includes(scene)) return null
    return scene === SINGLE_CHAT_SCENE ? 'single_chat' : 'not_from_group'
  }

  async function enterOnce (options) {
    const query = Object.assign({}, options.query)
    const reason = reasonFromOptions(options)
    if (reason) return { group: null, reason, query }
    try {
      const { group, created } = await bind(() => fetchEnvelope(options.shareTicket), options.scene)
      if (!group) throw phone.error('bad_answer')
      return { group, created, query }
    } catch (error) {
      return { group: null, reason: reasonFromError(error), query, error }
    }
  }

  return function enter (given) {
    const options = given || enterOptions(wx)
    // Android keeps scene and ticket after Home and back, but a ticket belongs to one opening.
    const key = options.shareTicket || `${options.scene} in visit ${visit}`
    if (last && last.key === key) return last.entry
    const current = last = { key, entry: enterOnce(options) }
    current.entry.then(({ group, reason }) => {
      if (last === current && !group && !FINAL_REASONS.includes(reason)) last = null
    })
    return current.entry
  }
}

function enterOptions (wx) {
  return wx.getEnterOptionsSync ? wx.getEnterOptionsSync() : {} // missing before 2.9.4
}

const FINAL_REASONS = ['single_chat', 'left_group', 'timeline', 'unsupported']

const REASON_BY_CODE = {
  left_group: 'left_group',
  not_from_group: 'no_ticket',
  not_a_group: 'single_chat',
  privacy_refused: 'privacy_refused',
  privacy_undeclared: 'privacy_undeclared',
  unsupported: 'no_ticket', // the phone has neither call
  user_blocked: 'blocked',
  bind_locked: 'locked',
  bad_answer: 'unavailable'
}

function reasonFromError (error) {
  if (isUnreachable(error)) return 'offline'
  return REASON_BY_CODE[error.code] || (isTemporary(error) ? 'unavailable' : 'failed')
}

function envelopeOf ({ encryptedData, iv }) {
  return { encryptedData, iv }
}

// The client

/** @type {{ groups: Groups, phone: ReturnType<typeof createPhone> } | null} */
let latestClient = null

/** @param {import('./index').Options} options */
function createGroups (options) {
  const phone = createPhone(options.wx || wx)
  const account = accountOf(phone.wx)
  const appid = options.appid || account.appId
  const environment = account.envVersion || 'release'
  const base = apiUrl(options.baseUrl, environment)
  const supported = !isOlder(baseInfo(phone.wx).SDKVersion || MIN_BASE_LIBRARY, MIN_BASE_LIBRARY)
  if (!supported) console.warn(`groupsite needs base library ${MIN_BASE_LIBRARY} or newer (需要基础库 ${MIN_BASE_LIBRARY} 及以上)`)

  const network = createNetwork(phone, options.transport)
  const storage = createStorage(phone.wx, ['groupsite', appid, environment, base].join(' '))
  const { getToken } = options
  const session = createSession(getToken ? reason => callGetToken(getToken, reason) : logIn, storage)
  const enterGroup = createEnter(phone, bind, supported)

  function headers (token) {
    const header = { 'accept-language': phone.language === 'zh' ? 'zh-CN' : 'en' }
    return token ? Object.assign(header, { authorization: `Bearer ${token}` }) : header
  }

  function send (method, path, data, token) {
    const header = Object.assign(headers(token), { 'content-type': 'application/json' })
    return network.send({ url: base + path, method, header, data, timeout: TIMEOUT })
  }

  async function logIn () {
    try {
      return await exchangeCode()
    } catch (error) {
      if (error.code !== 'invalid_code') throw error
      return exchangeCode()
    }
  }

  async function exchangeCode () {
    const { code } = await phone.callWithTimeout('login', { timeout: TIMEOUT })
    const body = appid ? { code, appid } : { code }
    const { token } = await send('POST', '/login', body)
    if (!token) throw phone.error('bad_answer')
    return token
  }

  async function callGetToken (getToken, reason) {
    try {
      const token = await getToken(reason)
      if (!token) throw new TypeError('getToken returned no token')
      return token
    } catch (cause) {
      throw cause instanceof GroupsError ? cause : phone.error('get_token', { errMsg: String(cause) })
    }
  }

  /** Run `work(token)`, and once more with another token if the server refuses this one. */
  async function withToken (work) {
    const token = await session.token()
    try {
      return await work(token)
    } catch (error) {
      if (tokenReason(error) !== 'expired') throw error
      return work(await session.replace(token, 'expired'))
    }
  }

  // The server must know the session_key before WeChat encrypts with it: get a token first, then the
  // envelope, and a new envelope after every log-in.
  async function bind (fetchEnvelope, scene) {
    const tried = []
    let token = await session.token()
    for (;;) {
      const envelope = await fetchEnvelope()
      try {
        return await send('POST', '/groups/bind', Object.assign(envelope, { scene }), token)
      } catch (error) {
        const reason = tokenReason(error)
        if (!reason || tried.includes(reason)) throw error
        tried.push(reason)
        token = await session.replace(token, reason)
      }
    }
  }

  /** @param {{ method?: string, data?: any }} options */
  function request (path, options = {}) {
    const { method = 'GET', data } = options
    const fullPath = path.startsWith('/') ? path : `/${path}`
    if (method !== 'GET') return withToken(token => send(method, fullPath, data, token))
    return withToken(token => send(method, withQuery(fullPath, data), undefined, token))
  }

  const get = (path, query) => request(path, { data: query })
  const post = (path, data) => request(path, { method: 'POST', data })
  const put = (path, data) => request(path, { method: 'PUT', data })
  const remove = path => request(path, { method: 'DELETE' })

  // Without this, shared cards carry no shareTicket. It fails if no page is open yet, which is harmless.
  function enableShareTickets () {
    phone.call('showShareMenu', { withShareTicket: true }).catch(() => {})
  }

  function enter (options) {
    enableShareTickets()
    return enterGroup(options)
  }

  /** @type {Groups['submitScore']} */
  async function submitScore (submission) {
    const idempotencyKey = submission.idempotencyKey || randomKey()
    try {
      return await post('/scores', Object.assign({}, submission, { idempotencyKey }))
    } catch (error) {
      throw Object.assign(error, { idempotencyKey })
    }
  }

  /** @type {Groups['uploadAvatar']} */
  function uploadAvatar (filePath, { onProgress } = {}) {
    const file = { url: `${base}/me/avatar`, filePath, name: 'avatar', timeout: UPLOAD_TIMEOUT }
    return withToken(token => network.upload(Object.assign({ header: headers(token) }, file), onProgress))
  }

  /** @type {Groups['share']} */
  function share ({ title, path, query, imageUrl } = {}) {
    enableShareTickets()
    const card = { path: withQuery(path || currentPath(phone.wx), query) }
    if (title) card.title = title
    if (imageUrl) card.imageUrl = imageUrl
    return card
  }

  async function deleteMe () {
    await remove('/me')
    session.forget()
  }

  /** @type {Groups} */
  const groups = {
    enter,
    groups: query => get('/groups', query),
    me: () => get('/me'),
    boards: () => get('/boards'),
    ranking: (openGId, query) => get(`${groupPath(openGId)}/ranking`, query),
    around: (openGId, query) => get(`${groupPath(openGId)}/ranking/around`, query),
    submitScore,
    setNickname: nickname => put('/me', { nickname }),
    uploadAvatar,
    hide: (openGId, hidden = true) => put(`${groupPath(openGId)}/membership`, { hidden }),
    leave: async openGId => { await remove(`${groupPath(openGId)}/membership`) },
    link: (openGId, board) => post(`${groupPath(openGId)}/link`, board ? { board } : {}),
    share,
    deleteMe,
    request
  }
  latestClient = { groups, phone }
  return groups
}

/** Return why another token is needed after `error`, or null if it would not help. */
function tokenReason (error) {
  if (error.status === 401) return 'expired'
  return error.code === 'session_stale' ? 'stale' : null
}

function apiUrl (baseUrl, environment) {
  const url = typeof baseUrl === 'string' ? baseUrl : (baseUrl || {})[environment]
  if (!url) throw new TypeError(`createGroups: no baseUrl for "${environment}"`)
  return `${url.replace(/\/+$/, '').replace(/\/api\/v1$/, '')}/api/v1`
}

function groupPath (openGId) {
  return `/groups/${encodeURIComponent(openGId)}`
}

function withQuery (path, query) {
  const keys = Object.keys(query || {}).filter(key => query[key] !== undefined && query[key] !== null)
  const pairs = keys.map(key => `${encodeURIComponent(key)}=${encodeURIComponent(query[key])}`)
  if (!pairs.length) return path
  return path + (path.includes('?') ? '&' : '?') + pairs.join('&')
}

function currentPath (wx) {
  const pages = typeof getCurrentPages === 'function' ? getCurrentPages() : []
  const page = pages[pages.length - 1]
  return `/${page ? page.route : enterOptions(wx).path || ''}`
}

function randomKey () {
  const part = () => Math.random().toString(36).slice(2)
  return `${Date.now().toString(36)}-${part()}${part()}`.slice(0, 64)
}

/** Return the client that was created last, and its phone, for the kit's components. */
function inUse () {
  if (!latestClient) throw new Error('groupsite: call createGroups({ baseUrl }) in app.js first')
  return latestClient
}

module.exports = { createGroups, GroupsError, inUse }
