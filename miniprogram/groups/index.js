'use strict'
/*
 * groupsite's client for WeChat mini-programs: one file, no dependencies.
 *
 *   phone     `wx` as promises, its failures as GroupsErrors
 *   network   at most six requests at once, answers read, GETs repeated
 *   session   one log-in at a time, a token kept between runs
 *   entrance  which group this opening came from
 *
 * What each method takes and gives stands in index.d.ts, against which this file is checked.
 */

/** @typedef {import('./index').Groups} Groups */

const MIN_BASE_LIBRARY = '2.17.3'

const MOST_AT_ONCE = 6
const TIMEOUT = 10000
const UPLOAD_TIMEOUT = 60000
const GRACE = 2000

// A GET is repeated after these pauses, if the server does not name another of at most LONGEST_WAIT.
const PAUSES = [400, 1200]
const LONGEST_WAIT = 5000

const GROUP_SCENES = [1008, 1044, 1096, 1158, 1160, 1185]
const SINGLE_CHAT_SCENE = 1007
const TIMELINE_SCENES = [1154, 1155]
const SINGLE_CHATS = [1, 2]
const GROUP_CHATS = [3, 4]

const LEFT_GROUP = 65206
const NOT_FROM_GROUP = 40097
const PRIVACY_REFUSED = [103, 104]
const PRIVACY_UNDECLARED = 112

const SENTENCES = {
  zh: {
    offline: '网络连接失败，请检查网络后重试',
    timeout: '网络太慢，请稍后重试',
    interrupted: '请求被中断，请重试',
    bad_answer: '服务器的回答无法识别，请稍后重试',
    domain_not_listed: '服务器域名尚未加入小程序后台的合法域名列表',
    left_group: '你已不在这个群里',
    not_from_group: '请从微信群里的卡片打开',
    no_ticket: '没有取得群信息，请从微信群里的卡片重新打开',
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
    bad_answer: 'The server gave an answer that cannot be read. Try again later',
    domain_not_listed: "The server is not among this mini-program's registered domains",
    left_group: 'You are no longer in this group',
    not_from_group: 'Open this from a card in a WeChat group',
    no_ticket: 'WeChat did not say which group. Open the card in the group again',
    privacy_refused: 'You did not agree to the privacy notice, which this needs',
    privacy_undeclared: 'The privacy notice does not declare this. Please tell the developers',
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
    const sentences = SENTENCES[language]
    return new GroupsError(code, sentences[code] || sentences.other, details)
  }

  function failure (name, cause) {
    const { errMsg, errno } = cause || {}
    return error(codeOf(name, cause || {}), { errMsg: errMsg || String(cause), errno })
  }

  // Some calls (getGroupEnterInfo, getShareInfo) never return a promise, so none is relied upon.
  function call (name, options, onTask) {
    return new Promise((resolve, reject) => {
      if (typeof wx[name] !== 'function') throw error('unsupported', { errMsg: `wx.${name} is missing` })
      const callbacks = { success: resolve, fail: cause => reject(failure(name, cause)) }
      const task = wx[name](Object.assign({}, options, callbacks))
      if (onTask && task) onTask(task)
    })
  }

  // What never comes back must not hold up all others for ever.
  function inTime (name, answer, timeout = TIMEOUT) {
    return new Promise((resolve, reject) => {
      const late = () => reject(error('timeout', { errMsg: `${name}: no answer` }))
      const timer = setTimeout(late, timeout + GRACE)
      const settle = decide => value => {
        clearTimeout(timer)
        decide(value)
      }
      answer.then(settle(resolve), settle(reject))
    })
  }

  function callInTime (name, options, onTask) {
    return inTime(name, call(name, options, onTask), options && options.timeout)
  }

  return { wx, language, error, failure, call, callInTime, inTime }
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
  // Numbers are strings on some phones, and on others stand in the text only.
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

function isOlder (version, than) {
  const [ours, theirs] = [version, than].map(text => text.split('.').map(Number))
  const place = theirs.findIndex((number, index) => number !== (ours[index] || 0))
  return place >= 0 && (ours[place] || 0) < theirs[place]
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

  // A place is handed on, not given back, while somebody waits for one.
  function release () {
    if (waiting.length) waiting.shift()()
    else active -= 1
  }

  async function oneOfSix (work) {
    if (active < MOST_AT_ONCE) active += 1
    else await new Promise(resolve => waiting.push(resolve))
    try {
      return await work()
    } finally {
      release()
    }
  }

  function carry (request) {
    return transport ? phone.inTime('transport', askTransport(request)) : phone.callInTime('request', request)
  }

  async function askTransport (request) {
    try {
      return await transport(request)
    } catch (cause) {
      throw phone.failure('request', cause)
    }
  }

  async function send (request) {
    return read(await oneOfSix(() => carry(request)))
  }

  async function upload (options, onProgress) {
    const watch = task => {
      if (onProgress && task.onProgressUpdate) task.onProgressUpdate(({ progress }) => onProgress(progress))
    }
    return read(await oneOfSix(() => phone.callInTime('uploadFile', options, watch)))
  }

  // wx.request calls `success` whatever the status, and wx.uploadFile gives its body as text.
  function read (answer) {
    const status = answer.statusCode
    if (status === 204) return null
    const body = parsed(answer.data)
    if (!(status >= 200 && status < 300)) throw refusal(answer, body || {})
    if (!body) throw phone.error('bad_answer', { status })
    return body
  }

  function refusal (answer, body) {
    const status = answer.statusCode
    const error = phone.error(body.code || `http_${status}`, { status })
    if (body.detail) error.message = body.detail
    if (body.fields) error.fields = body.fields
    error.requestId = body.requestId || headerOf(answer, 'x-request-id')
    error.retryAfter = Number(body.retryAfter || headerOf(answer, 'retry-after')) || undefined
    return error
  }

  // Only what changes nothing is repeated: nobody knows whether a lost POST arrived.
  async function sendPatiently (request) {
    const begun = Date.now()
    for (const pause of PAUSES) {
      try {
        return await send(request)
      } catch (error) {
        const wait = error.retryAfter ? error.retryAfter * 1000 : pause
        if (!isPassing(error) || wait > LONGEST_WAIT || Date.now() - begun > TIMEOUT) throw error
        await sleep(wait)
      }
    }
    return send(request)
  }

  return {
    send: request => request.method === 'GET' ? sendPatiently(request) : send(request),
    upload
  }
}

function isPassing (error) {
  return isUnreachable(error) || [429, 502, 503, 504].includes(error.status)
}

function isUnreachable (error) {
  return ['offline', 'timeout', 'interrupted'].includes(error.code)
}

/** The object in a body; null where there is none. */
function parsed (data) {
  try {
    const value = typeof data === 'string' ? JSON.parse(data) : data
    return typeof value === 'object' ? value : null
  } catch (_) {
    return null
  }
}

function headerOf (answer, name) {
  const header = answer.header || {}
  const key = Object.keys(header).find(key => key.toLowerCase() === name)
  return key && header[key]
}

function sleep (milliseconds) {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}

// The session

/** `obtain(reason)` logs in; `storage` keeps the token for the next run. */
function createSession (obtain, storage) {
  let current = storage.read()
  /** @type {Promise<string> | null} */
  let flight = null

  // Two log-ins at once would each make the other's session_key stale.
  function renew (reason) {
    const landed = () => { flight = null }
    const ours = flight = obtain(reason).then(keep)
    ours.then(landed, landed)
    return ours
  }

  function keep (token) {
    current = token
    storage.write(token)
    return token
  }

  return {
    async token () {
      return flight || current || renew('start')
    },
    /** A token other than `used`; a new one only where nobody else has fetched it meanwhile. */
    async replace (used, reason) {
      if (flight) return flight
      return current && current !== used ? current : renew(reason)
    },
    forget () {
      current = null
      storage.remove()
    }
  }
}

// A full or blocked storage costs a log-in at the next start, and nothing else.
function createStorage (wx, key) {
  const attempt = work => {
    try {
      return work()
    } catch (_) {
      return null
    }
  }
  return {
    read: () => attempt(() => wx.getStorageSync(key)) || null,
    write: value => attempt(() => wx.setStorageSync(key, value)),
    remove: () => attempt(() => wx.removeStorageSync(key))
  }
}

// The entrance

/** `bind(fetchEnvelope, scene)` tells the server; `supported`: whether the base library is. */
function createEntrance (phone, bind, supported) {
  const { wx } = phone
  let visit = 0
  /** @type {{ key: string, outcome: Promise<any> } | null} */
  let last = null

  // Counted when leaving: whoever asks on the way back in then asks about a new visit, whichever
  // of the listeners comes first.
  if (wx.onAppHide) wx.onAppHide(() => { visit += 1 })

  async function askGroupEnterInfo () {
    const envelope = await phone.callInTime('getGroupEnterInfo')
    if (!envelope.encryptedData) throw phone.error('not_from_group', { errMsg: envelope.errMsg })
    return envelope
  }

  async function fetchEnvelope (shareTicket) {
    try {
      return sealed(await askGroupEnterInfo())
    } catch (error) {
      const settled = error.code === 'left_group' || error.code === 'privacy_refused'
      if (settled || !shareTicket) throw error
      return sealed(await phone.callInTime('getShareInfo', { shareTicket }))
    }
  }

  function reasonAgainst (options) {
    const { scene, chatType, shareTicket } = options
    if (!supported) return 'unsupported'
    if (TIMELINE_SCENES.includes(scene)) return 'timeline'
    if (SINGLE_CHATS.includes(chatType)) return 'single_chat'
    if (shareTicket || GROUP_CHATS.includes(chatType) || GROUP_SCENES.includes(scene)) return null
    return scene === SINGLE_CHAT_SCENE ? 'single_chat' : 'not_from_group'
  }

  async function entry (options) {
    const query = Object.assign({}, options.query)
    const against = reasonAgainst(options)
    if (against) return { group: null, reason: against, query }
    try {
      const { group, created } = await bind(() => fetchEnvelope(options.shareTicket), options.scene)
      if (!group) throw phone.error('bad_answer')
      return { group, created, query }
    } catch (error) {
      return { group: null, reason: reasonOf(error), query, error }
    }
  }

  // Android keeps scene and ticket after Home and back; a ticket, though, names one opening.
  function keyOf (options) {
    return options.shareTicket || `${options.scene} in visit ${visit}`
  }

  return function enter (given) {
    const options = given || enterOptions(wx)
    const key = keyOf(options)
    if (last && last.key === key) return last.outcome
    const ours = last = { key, outcome: entry(options) }
    ours.outcome.then(({ group, reason }) => {
      if (last === ours && !group && !FINAL_REASONS.includes(reason)) last = null
    })
    return ours.outcome
  }
}

function enterOptions (wx) {
  return wx.getEnterOptionsSync ? wx.getEnterOptionsSync() : {} // older than 2.9.4
}

const FINAL_REASONS = ['single_chat', 'left_group', 'timeline', 'unsupported']

const REASONS = {
  left_group: 'left_group',
  not_from_group: 'no_ticket',
  not_a_group: 'single_chat',
  privacy_refused: 'privacy_refused',
  privacy_undeclared: 'privacy_undeclared',
  unsupported: 'no_ticket', // neither call can be made
  user_blocked: 'blocked',
  bind_locked: 'locked',
  bad_answer: 'unavailable'
}

function reasonOf (error) {
  if (isUnreachable(error)) return 'offline'
  return REASONS[error.code] || (isPassing(error) ? 'unavailable' : 'failed')
}

function sealed ({ encryptedData, iv }) {
  return { encryptedData, iv }
}

// The client

/** @type {{ groups: Groups, phone: ReturnType<typeof createPhone> } | null} */
let latest = null

/** @param {import('./index').Options} options */
function createGroups (options) {
  const phone = createPhone(options.wx || wx)
  const account = accountOf(phone.wx)
  const appid = options.appid || account.appId
  const environment = account.envVersion || 'release'
  const base = apiOf(options.baseUrl, environment)
  const supported = !isOlder(baseInfo(phone.wx).SDKVersion || MIN_BASE_LIBRARY, MIN_BASE_LIBRARY)
  if (!supported) console.warn(`groupsite needs base library ${MIN_BASE_LIBRARY} or newer (需要基础库 ${MIN_BASE_LIBRARY} 及以上)`)

  const network = createNetwork(phone, options.transport)
  const storage = createStorage(phone.wx, ['groupsite', appid, environment, base].join(' '))
  const { getToken } = options
  const session = createSession(getToken ? reason => askApp(getToken, reason) : logIn, storage)
  const enterGroup = createEntrance(phone, bind, supported)

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
    const { code } = await phone.callInTime('login', { timeout: TIMEOUT })
    const body = appid ? { code, appid } : { code }
    const { token } = await send('POST', '/login', body)
    if (!token) throw phone.error('bad_answer')
    return token
  }

  async function askApp (getToken, reason) {
    try {
      const token = await getToken(reason)
      if (!token) throw new TypeError('getToken gave no token')
      return token
    } catch (cause) {
      throw cause instanceof GroupsError ? cause : phone.error('get_token', { errMsg: String(cause) })
    }
  }

  /** `work(token)`, and once more with another token if the server refuses this one. */
  async function authorized (work) {
    const token = await session.token()
    try {
      return await work(token)
    } catch (error) {
      if (renewalFor(error) !== 'expired') throw error
      return work(await session.replace(token, 'expired'))
    }
  }

  // The server must hold the key before WeChat seals with it: token first, then the envelope, and
  // after every log-in a new envelope.
  async function bind (fetchEnvelope, scene) {
    const tried = []
    let token = await session.token()
    for (;;) {
      const envelope = await fetchEnvelope()
      try {
        return await send('POST', '/groups/bind', Object.assign(envelope, { scene }), token)
      } catch (error) {
        const reason = renewalFor(error)
        if (!reason || tried.includes(reason)) throw error
        tried.push(reason)
        token = await session.replace(token, reason)
      }
    }
  }

  /** @param {{ method?: string, data?: any }} how */
  function request (path, how = {}) {
    const { method = 'GET', data } = how
    const place = path.startsWith('/') ? path : `/${path}`
    if (method !== 'GET') return authorized(token => send(method, place, data, token))
    return authorized(token => send(method, withQuery(place, data), undefined, token))
  }

  const get = (path, query) => request(path, { data: query })
  const post = (path, data) => request(path, { method: 'POST', data })
  const put = (path, data) => request(path, { method: 'PUT', data })
  const remove = path => request(path, { method: 'DELETE' })

  // Without it a card carries no shareTicket. It fails where no page is open yet: no matter.
  function askForTickets () {
    phone.call('showShareMenu', { withShareTicket: true }).catch(() => {})
  }

  function enter (options) {
    askForTickets()
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
    return authorized(token => network.upload(Object.assign({ header: headers(token) }, file), onProgress))
  }

  /** @type {Groups['share']} */
  function share ({ title, path, query, imageUrl } = {}) {
    askForTickets()
    const card = { path: withQuery(path || openPage(phone.wx), query) }
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
    ranking: (openGId, query) => get(`${group(openGId)}/ranking`, query),
    around: (openGId, query) => get(`${group(openGId)}/ranking/around`, query),
    submitScore,
    setNickname: nickname => put('/me', { nickname }),
    uploadAvatar,
    hide: (openGId, hidden = true) => put(`${group(openGId)}/membership`, { hidden }),
    leave: async openGId => { await remove(`${group(openGId)}/membership`) },
    link: (openGId, board) => post(`${group(openGId)}/link`, board ? { board } : {}),
    share,
    deleteMe,
    request
  }
  latest = { groups, phone }
  return groups
}

/** Why another token would help against `error`, if it would. */
function renewalFor (error) {
  if (error.status === 401) return 'expired'
  return error.code === 'session_stale' ? 'stale' : null
}

function apiOf (baseUrl, environment) {
  const url = typeof baseUrl === 'string' ? baseUrl : (baseUrl || {})[environment]
  if (!url) throw new TypeError(`createGroups: no baseUrl for "${environment}"`)
  return `${url.replace(/\/+$/, '').replace(/\/api\/v1$/, '')}/api/v1`
}

function group (openGId) {
  return `/groups/${encodeURIComponent(openGId)}`
}

function withQuery (path, query) {
  const given = Object.keys(query || {}).filter(key => query[key] !== undefined && query[key] !== null)
  const pairs = given.map(key => `${encodeURIComponent(key)}=${encodeURIComponent(query[key])}`)
  if (!pairs.length) return path
  return path + (path.includes('?') ? '&' : '?') + pairs.join('&')
}

function openPage (wx) {
  const pages = typeof getCurrentPages === 'function' ? getCurrentPages() : []
  const page = pages[pages.length - 1]
  return `/${page ? page.route : enterOptions(wx).path || ''}`
}

function randomKey () {
  const part = () => Math.random().toString(36).slice(2)
  return `${Date.now().toString(36)}-${part()}${part()}`.slice(0, 64)
}

/** For the kit's components: the client made last, and its phone. */
function inUse () {
  if (!latest) throw new Error('groupsite: call createGroups({ baseUrl }) in app.js first')
  return latest
}

module.exports = { createGroups, GroupsError, inUse }
