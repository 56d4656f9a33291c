'use strict'
/*
 * groupsite's client for WeChat mini-programs: one file, no dependencies.
 *
 *   phone        `wx` as promises that end, its failures as GroupsErrors
 *   network      at most six requests at once, GETs retried
 *   session      one log-in at a time, a token stored between runs
 *   enter        which group the mini-program was opened from
 *   client       the calls of the API, and the client's name on the app
 *   diagnostics  reports of what the phone could not do
 *
 * index.d.ts documents and types every method; this file is checked against it.
 */

/** @typedef {import('./index').Groups} Groups */

const MIN_BASE_LIBRARY = '2.17.3'
const GROUP_OPENID_LIBRARY = '3.7.8'
const NAME = 'groupsite'

// In milliseconds. A call may make several requests, with a log-in between them: DEADLINE is for all.
const MAX_REQUESTS = 6
const TIMEOUT = 10000
const UPLOAD_TIMEOUT = 25000
const GROUP_TIMEOUT = 5000
const GRACE = 2000
const DEADLINE = 28000

// A GET is retried after these delays, unless the server asks for another one of at most MAX_DELAY.
const RETRY_DELAYS = [400, 1200]
const MAX_DELAY = 5000

// What WeChat Cloud Run's gateway takes as text is 100 KiB, and a picture grows by a third in base64.
const MAX_CLOUD_PICTURE = 70000
const CLOUD_PICTURE_WIDTH = 480

const MAX_KEPT = 10
const MAX_REPORTS = 3

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
    privacy_refused: '你没有同意隐私保护指引，因此无法使用这项功能',
    privacy_undeclared: '小程序的隐私保护指引里没有声明这项信息，请联系开发者',
    unsupported: '微信版本过低，或不在微信里，请更新微信后再试',
    get_token: '登录失败，请稍后重试',
    wx_fail: '微信没有完成这次操作，请重试',
    logged_out: '你已退出登录，请重试',
    misconfigured: '小程序没有填写服务器地址，请联系开发者',
    other: '出了点问题，请稍后重试'
  },
  'zh-Hant': {
    offline: '網路連線失敗，請檢查網路後再試',
    timeout: '網路太慢，請稍後再試',
    interrupted: '請求被中斷，請再試一次',
    bad_answer: '無法識別伺服器傳回的內容，請稍後再試',
    domain_not_listed: '伺服器網域尚未加入小程式後台的合法網域清單',
    left_group: '你已不在這個群組裡',
    not_from_group: '請從微信群組裡的卡片開啟',
    privacy_refused: '你沒有同意隱私權保護指引，因此無法使用這項功能',
    privacy_undeclared: '小程式的隱私權保護指引沒有聲明這項資訊，請聯絡開發者',
    unsupported: '微信版本過舊，或不在微信裡，請更新微信後再試',
    get_token: '登入失敗，請稍後再試',
    wx_fail: '微信沒有完成這次操作，請再試一次',
    logged_out: '你已登出，請再試一次',
    misconfigured: '小程式沒有填寫伺服器位址，請聯絡開發者',
    other: '出了點問題，請稍後再試'
  },
  en: {
    offline: 'No connection. Check the network and try again',
    timeout: 'The network is slow. Try again later',
    interrupted: 'The request was interrupted. Try again',
    bad_answer: "The server's response could not be read. Try again later",
    domain_not_listed: "The server's domain is not in this mini-program's list of allowed domains",
    left_group: 'You are no longer in this group',
    not_from_group: 'Open this from a card in a WeChat group',
    privacy_refused: 'This is not available because you did not agree to the privacy notice',
    privacy_undeclared: 'The privacy notice does not declare this. Please contact the developers',
    unsupported: 'This needs a newer version of WeChat. Please update it',
    get_token: 'Logging in failed. Try again later',
    wx_fail: 'WeChat could not do this. Try again',
    logged_out: 'You are logged out. Try again',
    misconfigured: "This mini-program has no server's address. Please contact the developers",
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

/** Wrap `wx`, or `{}` where there is none; `onFailure(name, error)` hears of each failed call. */
function createPhone (wx, onFailure) {
  const language = languageOf(baseInfo(wx).language)

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
      const callbacks = {
        success: result => resolve(result || {}),
        fail: cause => reject(failure(name, cause))
      }
      try {
        const task = wx[name](Object.assign({}, options, callbacks))
        if (onTask && task) onTask(task)
      } catch (cause) {
        reject(failure(name, cause))
      }
    })
  }

  /** Reject with `timeout` if the promise does not end in time: a call that hangs must not block others. */
  function withTimeout (name, promise, milliseconds) {
    return new Promise((resolve, reject) => {
      const expire = () => reject(error('timeout', { errMsg: `${name}: no response` }))
      const timer = setTimeout(expire, milliseconds)
      const stopTimer = settle => value => {
        clearTimeout(timer)
        settle(value)
      }
      promise.then(stopTimer(resolve), stopTimer(reject))
    })
  }

  async function callWithTimeout (name, options, onTask, milliseconds) {
    const { timeout = TIMEOUT } = options || {}
    try {
      return await withTimeout(name, call(name, options, onTask), milliseconds || timeout + GRACE)
    } catch (error) {
      onFailure(name, error)
      throw error
    }
  }

  /** Return the cause as a GroupsError, also if another copy of this module made it. */
  function asGroupsError (cause) {
    return cause && cause.name === 'GroupsError' ? cause : error('failed', { errMsg: String(cause) })
  }

  return { wx, language, error, failure, call, callWithTimeout, withTimeout, asGroupsError }
}

/** Return what `work` returns, or null if it throws or has nothing. */
function attempt (work) {
  try {
    return work() || null
  } catch (_) {
    return null
  }
}

function baseInfo (wx) {
  return attempt(() => wx.getAppBaseInfo ? wx.getAppBaseInfo() : wx.getSystemInfoSync()) || {}
}

function languageOf (tag) {
  if (/^zh[-_](tw|hk|mo|hant)/i.test(tag)) return 'zh-Hant'
  return !tag || /^zh/i.test(tag) ? 'zh' : 'en'
}

function codeOf (name, cause) {
  const text = String(cause.errMsg || '')
  const errno = Number(cause.errno)
  // On some phones the numbers are strings, on others they are only in the text.
  const numbers = [errno, cause.errCode, cause.err_code].concat(text.match(/\b\d{5}\b/g) || []).map(Number)
  if (numbers.includes(LEFT_GROUP)) return 'left_group'
  if (numbers.includes(NOT_FROM_GROUP) || /invalid scene/i.test(text)) return 'not_from_group'
  if (PRIVACY_REFUSED.includes(errno) || /privacy permission is not authorized/.test(text)) return 'privacy_refused'
  if (errno === PRIVACY_UNDECLARED || /not declared in the privacy/.test(text)) return 'privacy_undeclared'
  if (/time ?out/i.test(text)) return 'timeout'
  if (/interrupted/i.test(text)) return 'interrupted'
  if (/domain list/i.test(text)) return 'domain_not_listed'
  if (/no such file|file not found|not exist/i.test(text)) return 'wx_fail'
  return name === 'request' || name === 'uploadFile' || /network|net::/i.test(text) ? 'offline' : 'wx_fail'
}

function isOlder (version, other) {
  const [numbers, otherNumbers] = [version, other].map(text => String(text).split('.').map(Number))
  const first = otherNumbers.findIndex((number, index) => number !== (numbers[index] || 0))
  return first >= 0 && (numbers[first] || 0) < otherNumbers[first]
}

/** Return a function that calls `listener` whenever the network comes back, until what it returns is called. */
function createOnline (wx) {
  const listeners = new Set()
  let isWatching = false

  function watch () {
    if (isWatching) return
    isWatching = true
    attempt(() => wx.onNetworkStatusChange(({ isConnected }) => {
      if (isConnected) Array.from(listeners).forEach(listener => attempt(listener))
    }))
  }

  return listener => {
    watch()
    const own = () => listener()
    listeners.add(own)
    return () => { listeners.delete(own) }
  }
}

// The network

function createNetwork (phone, transport, sleeps) {
  const waiting = []
  let active = 0

  // A job that has ended while it waited sends nothing any more.
  async function withSlot (job, work) {
    if (active < MAX_REQUESTS) active += 1
    else await new Promise(resolve => waiting.push(resolve))
    try {
      if (job.hasEnded) throw phone.error('timeout', { errMsg: 'the call has ended' })
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

  async function sendOnce (job, request) {
    return readResponse(await withSlot(job, () => transport
      ? phone.withTimeout('transport', callTransport(request), request.timeout + GRACE)
      : phone.callWithTimeout('request', request)))
  }

  async function upload (job, options, onProgress) {
    const onTask = task => {
      if (onProgress && task.onProgressUpdate) task.onProgressUpdate(({ progress }) => onProgress(progress))
    }
    return readResponse(await withSlot(job, () => phone.callWithTimeout('uploadFile', options, onTask)))
  }

  // wx.request calls `success` for every status, and wx.uploadFile gives its body as text.
  function readResponse (response) {
    const { statusCode, data, header } = response || {}
    const status = Number(statusCode)
    const body = parseBody(data)
    if (status === 204 || status === 304) return { status, header, body: null }
    if (status >= 200 && status < 300 && body) return { status, header, body }
    if (!status || status < 300) throw phone.error('bad_answer', { status })
    throw errorFrom(status, header, body || {})
  }

  function errorFrom (status, header, body) {
    const error = phone.error(body.code || `http_${status}`, { status })
    if (body.detail) error.message = body.detail
    if (body.fields) error.fields = body.fields
    error.requestId = body.requestId || headerOf(header, 'x-request-id')
    error.retryAfter = Number(body.retryAfter || headerOf(header, 'retry-after')) || undefined
    return error
  }

  // Only a GET is retried: a POST whose response is lost may still have reached the server.
  async function sendWithRetries (job, request) {
    const startedAt = Date.now()
    for (const usualDelay of RETRY_DELAYS) {
      try {
        return await sendOnce(job, request)
      } catch (error) {
        const delay = error.retryAfter ? error.retryAfter * 1000 : usualDelay
        if (!isTemporary(error) || delay > MAX_DELAY || Date.now() - startedAt > TIMEOUT) throw error
        await sleep(delay)
      }
    }
    return sendOnce(job, request)
  }

  // A service in WeChat Cloud Run sleeps, and the connection that wakes it is lost. Sending the same again
  // is harmless there: a second bind or change changes nothing, a score has its key, and a code that was
  // used up is replaced by `logIn`. A deletion is not sent again: it would delete what came after it.
  async function sendAwake (job, request) {
    try {
      return await sendOnce(job, request)
    } catch (error) {
      if (!['offline', 'interrupted', 'wx_fail'].includes(error.code) || request.method === 'DELETE') throw error
      await sleep(RETRY_DELAYS[0])
      return sendOnce(job, request)
    }
  }

  const sendOther = sleeps ? sendAwake : sendOnce

  return {
    /** Resolve to `{ status, header, body }`; the body is null for 204 and 304. */
    send: (job, request) => (request.method === 'GET' ? sendWithRetries : sendOther)(job, request),
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
  const value = typeof data === 'string' ? attempt(() => JSON.parse(data)) : data
  return value && typeof value === 'object' && !Array.isArray(value) ? value : null
}

function headerOf (header, name) {
  const key = Object.keys(header || {}).find(key => key.toLowerCase() === name)
  return key && header[key]
}

function sleep (milliseconds) {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}

/** Return a transport through WeChat Cloud Run's gateway, which needs no domain. */
function cloudTransport (wx, { env, service }) {
  return ({ url, method, header, data, timeout }) => wx.cloud.callContainer({
    config: { env },
    path: url.replace(/^https?:\/\/[^/]+/, ''),
    header: Object.assign({ 'X-WX-SERVICE': service }, header),
    method,
    data,
    timeout
  })
}

// The session

/**
 * Create a session; `fetchToken(job, reason)` logs in, `storage` keeps the token for the next run.
 *
 * A job is one call of the client. When the session ends, by `deleteMe()` or `logout()`, the jobs under
 * way log in no more: no one asked for the account that this would make.
 */
function createSession (phone, fetchToken, storage) {
  let current = storage.read()
  let age = 0
  /** @type {Promise<string> | null} */
  let pending = null
  /** @type {Promise<void> | null} */
  let ending = null

  const begin = () => ({ age, hasEnded: false, endsSession: false })

  async function beforeLogIn (job) {
    if (job.age === age && ending && !job.endsSession) await ending
    if (job.age !== age) throw phone.error('logged_out')
  }

  // Two log-ins at once would each make the other's session_key stale.
  function renew (reason) {
    const clearPending = () => { pending = null }
    const renewal = pending = fetchToken(begin(), reason).then(token => {
      current = token
      storage.write(token)
      return token
    })
    renewal.then(clearPending, clearPending)
    return renewal
  }

  async function tokenOtherThan (job, oldToken, reason) {
    await beforeLogIn(job)
    const token = await (pending || (current && current !== oldToken ? current : renew(reason)))
    await beforeLogIn(job)
    return token
  }

  return {
    begin,
    hasToken: () => Boolean(current || pending),
    token: job => tokenOtherThan(job, null, 'start'),
    /** Return a token other than `oldToken`, and fetch one unless another call already has. */
    replace: tokenOtherThan,
    /** Run `work(job)`, which ends this session on the server; later calls wait for it. */
    async end (work) {
      age += 1
      const job = Object.assign(begin(), { endsSession: true })
      const before = Promise.all([ending, pending && pending.catch(() => {})])
      const ended = before.then(() => work(job))
      ending = ended.catch(() => {})
      const last = ending
      try {
        await ended
        current = null
        storage.remove()
      } finally {
        if (ending === last) ending = null
      }
    }
  }
}

// If the storage is full or blocked, the next start logs in again; nothing else is lost.
function createStorage (wx, key) {
  return {
    read () {
      const token = attempt(() => wx.getStorageSync(key))
      return typeof token === 'string' ? token : null
    },
    write: value => attempt(() => wx.setStorageSync(key, value)),
    remove: () => attempt(() => wx.removeStorageSync(key))
  }
}

// Entering

/** Create `enter`; `bind(job, fetchEnvelope, scene)` binds the group on the server. */
function createEnter (phone, bind, run, supported) {
  const { wx } = phone
  let visit = 0
  /** @type {{ key: string, entry: Promise<any> } | null} */
  let last = null

  // Counted on hide: listeners of the next show then all see a new visit, in whatever order they run.
  attempt(() => wx.onAppHide(() => { visit += 1 }))
  const knowsGroupOpenId = !isOlder(baseInfo(wx).SDKVersion || '0', GROUP_OPENID_LIBRARY)

  // getGroupEnterInfo speaks of the latest launch, which another card may be by now.
  function isLatest ({ scene, shareTicket }) {
    const latest = enterOptions(wx)
    return latest.scene === undefined || (latest.scene === scene && latest.shareTicket === shareTicket)
  }

  async function fetchEnvelope (options) {
    const { shareTicket, envelope } = options
    if (envelope) return envelopeOf(await phone.withTimeout('envelope', resolved(envelope), TIMEOUT))
    try {
      if (isLatest(options)) {
        const data = knowsGroupOpenId ? { needGroupOpenID: true } : {}
        const result = await phone.callWithTimeout('getGroupEnterInfo', data, undefined, GROUP_TIMEOUT)
        if (isLatest(options)) return envelopeOf(result)
      }
    } catch (error) {
      const isFinal = error.code === 'left_group' || error.code === 'privacy_refused'
      if (isLatest(options) && (isFinal || !shareTicket)) throw error
    }
    if (!shareTicket) throw phone.error('not_from_group', { errMsg: 'another card was opened meanwhile' })
    return envelopeOf(await phone.callWithTimeout('getShareInfo', { shareTicket }, undefined, GROUP_TIMEOUT))
  }

  function envelopeOf (result) {
    const { encryptedData, iv, cloudID } = result || {}
    if (!encryptedData) throw phone.error('not_from_group', { errMsg: result && result.errMsg })
    return { encryptedData, iv, cloudID }
  }

  /** Return why these options cannot come from a group, or null if they can. */
  function reasonFromOptions (options) {
    const { scene, chatType, shareTicket, envelope } = options
    if (!supported) return 'unsupported'
    if (envelope) return null
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
      const { group, created } = await run(job => bind(job, () => fetchEnvelope(options), options.scene))
      return { group, created, query }
    } catch (error) {
      return { group: null, reason: reasonFromError(error), query, error }
    }
  }

  function enter (given) {
    const options = given || enterOptions(wx)
    if (options.envelope) return enterOnce(options)
    // Android keeps scene and ticket after Home and back, but a ticket belongs to one opening.
    const key = options.shareTicket || `${options.scene} in visit ${visit}`
    if (last && last.key === key) return last.entry
    const current = last = { key, entry: enterOnce(options) }
    current.entry.then(({ group, reason }) => {
      if (last === current && !group && !FINAL_REASONS.includes(reason)) last = null
    })
    return current.entry
  }

  /** Answer later calls for the same opening with what `change(entry)` returns. */
  function changeEntry (change) {
    if (last) last.entry = last.entry.then(entry => entry.group ? change(entry) : entry)
  }

  return {
    enter,
    changed (openGId, membership) {
      changeEntry(entry => entry.group.openGId === openGId
        ? Object.assign({}, entry, { group: Object.assign({}, entry.group, { membership }) })
        : entry)
    },
    /** Answer the same opening with `left_group`: entering again would undo what the member just did. */
    left (openGId) {
      changeEntry(entry => !openGId || entry.group.openGId === openGId
        ? { group: null, reason: 'left_group', query: entry.query }
        : entry)
    },
    forget () {
      last = null
    }
  }
}

function enterOptions (wx) {
  return attempt(() => wx.getEnterOptionsSync()) || {} // missing before 2.9.4
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

// Diagnostics

// Not worth a report: what the member wants, and a network that is away.
const EXPECTED = ['left_group', 'privacy_refused', 'offline', 'interrupted']

/** Return `report(name, error)`, which tells the server what the phone could not do: no ids, and little. */
function createDiagnostics (wx, share, send) {
  const reported = new Set()
  const isSampled = Math.random() < share

  return function report (where, { code, errMsg, errno }) {
    const kind = `${where} ${code}`
    if (!isSampled || where === 'request' || EXPECTED.includes(code)) return
    if (reported.has(kind) || reported.size >= MAX_REPORTS) return
    reported.add(kind)
    const { SDKVersion } = baseInfo(wx)
    const { platform } = attempt(() => (wx.getDeviceInfo || wx.getSystemInfoSync)()) || {}
    const { scene } = enterOptions(wx)
    const text = errMsg && String(errMsg).slice(0, 200)
    send({ where, code, errMsg: text, errno, scene, SDKVersion, platform })
  }
}

// The client

/** @type {Map<string, Groups>} Where there is no app to keep them on. */
const clients = new Map()

/** @param {import('./index').Options} options */
function createGroups (options) {
  const settings = options || {}
  const { getToken, cloud } = settings
  const phone = createPhone(settings.wx || attempt(() => wx) || {}, (name, error) => report(name, error))
  const account = attempt(() => phone.wx.getAccountInfoSync().miniProgram) || {}
  const appid = settings.appid || account.appId
  const environment = account.envVersion || 'release'
  const base = apiUrl(settings.baseUrl, environment, cloud)
  const { SDKVersion = MIN_BASE_LIBRARY } = baseInfo(phone.wx)
  const isWeChat = attempt(() => typeof phone.wx.login === 'function')
  const supported = Boolean(isWeChat) && !isOlder(SDKVersion || MIN_BASE_LIBRARY, MIN_BASE_LIBRARY)
  if (isWeChat && !supported) console.warn(`groupsite needs base library ${MIN_BASE_LIBRARY} or newer (需要基础库 ${MIN_BASE_LIBRARY} 及以上)`)
  if (!base) console.error(`createGroups: there is no baseUrl for "${environment}" (没有这个环境的 baseUrl)`)

  const network = createNetwork(phone, settings.transport || (cloud && cloudTransport(phone.wx, cloud)), Boolean(cloud))
  const storage = createStorage(phone.wx, ['groupsite', appid, environment, base].join(' '))
  const fetchToken = getToken ? (job, reason) => callGetToken(getToken, reason) : logIn
  const session = createSession(phone, fetchToken, storage)
  const entering = createEnter(phone, bind, run, supported)
  const share = settings.diagnostics === undefined ? (environment === 'release' ? 0.1 : 1) : settings.diagnostics
  const report = createDiagnostics(phone.wx, share, data => {
    send(session.begin(), 'POST', '/diagnostics', data).catch(() => {})
  })

  /** Run `work(job)` for a caller: whatever happens, it ends in time, and fails with a GroupsError. */
  async function run (work) {
    const job = session.begin()
    try {
      return await phone.withTimeout('groupsite', resolved(() => work(job)), DEADLINE)
    } catch (cause) {
      throw phone.asGroupsError(cause)
    } finally {
      job.hasEnded = true
    }
  }

  // Requests

  function headers (token) {
    const header = { 'accept-language': phone.language === 'en' ? 'en' : 'zh-CN' }
    return token ? Object.assign(header, { authorization: `Bearer ${token}` }) : header
  }

  function send (job, method, path, data, token, moreHeaders) {
    if (!base) return Promise.reject(phone.error('misconfigured', { errMsg: `no baseUrl for "${environment}"` }))
    const header = Object.assign(headers(token), { 'content-type': 'application/json' }, moreHeaders)
    return network.send(job, { url: base + path, method, header, data, timeout: TIMEOUT })
  }

  /** Check that a response has an object in `key`: something between phone and server may have answered. */
  function checked (body, key) {
    if (!body || !body[key]) throw phone.error('bad_answer', { errMsg: `the response has no ${key}` })
    return body
  }

  async function logIn (job) {
    try {
      return await exchangeCode(job)
    } catch (error) {
      if (error.code !== 'invalid_code') throw error
      return exchangeCode(job)
    }
  }

  async function exchangeCode (job) {
    const { code } = await phone.callWithTimeout('login', { timeout: TIMEOUT })
    const data = appid ? { code, appid } : { code }
    const { body } = await send(job, 'POST', '/login', data)
    return checked(body, 'token').token
  }

  async function callGetToken (getToken, reason) {
    try {
      const token = await phone.withTimeout('getToken', resolved(() => getToken(reason)), TIMEOUT + GRACE)
      if (!token) throw new TypeError('getToken returned no token')
      return token
    } catch (cause) {
      throw cause && cause.name === 'GroupsError' ? cause : phone.error('get_token', { errMsg: (cause && cause.errMsg) || String(cause) })
    }
  }

  /** Run `work(token)`, and once more with another token if the server refuses this one. */
  async function withToken (job, work) {
    const token = await session.token(job)
    try {
      return await work(token)
    } catch (error) {
      if (tokenReason(error) !== 'expired') throw error
      return work(await session.replace(job, token, 'expired'))
    }
  }

  // The server must know the session_key before WeChat encrypts with it: get a token first, then the
  // envelope, and a new envelope after every log-in.
  async function bind (job, fetchEnvelope, scene) {
    const tried = []
    let token = await session.token(job)
    for (;;) {
      const { encryptedData, iv, cloudID } = await fetchEnvelope()
      const envelope = cloud ? { encryptedData, iv, cloudID } : { encryptedData, iv }
      try {
        const { body } = await send(job, 'POST', '/groups/bind', Object.assign(envelope, { scene }), token)
        return checked(body, 'group')
      } catch (error) {
        const reason = tokenReason(error)
        if (!reason || tried.includes(reason)) throw error
        tried.push(reason)
        token = await session.replace(job, token, reason)
      }
    }
  }

  async function call (job, method, path, data) {
    const { body } = await withToken(job, token => send(job, method, path, data, token))
    return body
  }

  const get = (path, query) => run(job => call(job, 'GET', withQuery(path(), query)))
  const post = (path, data) => run(job => call(job, 'POST', path(), data))
  const put = (path, data) => run(job => call(job, 'PUT', path(), data))
  const remove = path => run(job => call(job, 'DELETE', path()))

  // Rankings: what has not changed is not sent again.
  const kept = new Map()

  function readRanking (path, query) {
    return run(job => withToken(job, async token => {
      const address = withQuery(path(), query)
      const key = `${token} ${address}`
      const before = kept.get(key)
      const condition = before && { 'if-none-match': before.etag }
      const { status, header, body } = await send(job, 'GET', address, undefined, token, condition)
      if (status === 304 && before) return Object.assign(JSON.parse(before.text), serverTimeOf(header))
      const ranking = checked(body, 'entries')
      keep(key, headerOf(header, 'etag'), ranking)
      return ranking
    }))
  }

  function keep (key, etag, ranking) {
    kept.delete(key)
    if (etag) kept.set(key, { etag, text: JSON.stringify(ranking) })
    if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value)
  }

  // Sharing

  // Without this, shared cards carry no shareTicket. Only the attribute is set, and the menu is left as
  // the app has it; with `isUpdatableMessage: false`, iOS would drop the ticket. It fails if no page is
  // open yet, which is harmless.
  function enableShareTickets () {
    const { menus } = settings
    const [name, data] = menus ? ['showShareMenu', { menus }] : ['updateShareMenu', {}]
    phone.call(name, Object.assign({ withShareTicket: true }, data)).catch(() => {})
  }

  /** @type {Groups['share']} */
  function shareCard (options) {
    const { title, path, query, imageUrl } = options || {}
    enableShareTickets()
    const card = { path: withQuery(String(path || currentPath(phone.wx)), query) }
    if (title) card.title = title
    if (imageUrl) card.imageUrl = imageUrl
    return card
  }

  // Calls that do more than one request

  /** @type {Groups['enter']} */
  async function enter (options) {
    enableShareTickets()
    try {
      return await entering.enter(options)
    } catch (cause) {
      return { group: null, reason: 'failed', query: {}, error: phone.asGroupsError(cause) }
    }
  }

  /** @type {Groups['submitScore']} */
  async function submitScore (submission) {
    const idempotencyKey = (submission && submission.idempotencyKey) || randomKey()
    try {
      return await post(() => '/scores', Object.assign({}, submission, { idempotencyKey }))
    } catch (error) {
      throw Object.assign(error, { idempotencyKey })
    }
  }

  /** @type {Groups['uploadAvatar']} */
  function uploadAvatar (filePath, { onProgress } = {}) {
    return run(job => withToken(job, async token => {
      const { body } = await (cloud ? sendPicture(job, filePath, token) : uploadFile(job, filePath, token, onProgress))
      return body
    }))
  }

  function uploadFile (job, filePath, token, onProgress) {
    if (!base) throw phone.error('misconfigured')
    const file = { url: `${base}/me/avatar`, filePath, name: 'avatar', timeout: UPLOAD_TIMEOUT }
    return network.upload(job, Object.assign({ header: headers(token) }, file), onProgress)
  }

  // callContainer knows no files. A small picture is sent as text, which passes for certain; one that
  // cannot be made small is the body itself.
  async function sendPicture (job, filePath, token) {
    const path = await smallPicture(filePath)
    const data = readFile(path)
    if (!data) throw phone.error('wx_fail', { errMsg: `cannot read ${path}` })
    const avatar = data.byteLength <= MAX_CLOUD_PICTURE && readFile(path, 'base64')
    if (avatar) return send(job, 'POST', '/me/avatar', { avatar }, token)
    return send(job, 'POST', '/me/avatar', data, token, { 'content-type': 'image/jpeg' })
  }

  function readFile (path, ...encoding) {
    return attempt(() => phone.wx.getFileSystemManager().readFileSync(path, ...encoding))
  }

  /** Return the path of a picture, made smaller step by step where it is too large for the gateway. */
  async function smallPicture (filePath) {
    let path = filePath
    for (const quality of [80, 50, 20]) {
      const data = readFile(path)
      if (!data || data.byteLength <= MAX_CLOUD_PICTURE) break
      const options = { src: filePath, quality, compressedWidth: CLOUD_PICTURE_WIDTH }
      const result = await phone.callWithTimeout('compressImage', options).catch(() => ({}))
      if (!result.tempFilePath) break
      path = result.tempFilePath
    }
    return path
  }

  /** @type {(openGId: string, changes: object) => Promise<any>} */
  async function changeMembership (openGId, changes) {
    const membership = await put(() => `${groupPath(openGId)}/membership`, changes)
    entering.changed(openGId, membership)
    return membership
  }

  /** @type {Groups['leave']} */
  async function leave (openGId) {
    await remove(() => `${groupPath(openGId)}/membership`)
    entering.left(openGId)
  }

  /** @type {Groups['consent']} */
  async function consent (change) {
    const path = '/me/consent'
    if (!change) return get(() => path)
    if (!('withdraw' in change)) return post(() => path, change)
    const consents = await remove(() => `${path}/${encodeURIComponent(change.withdraw)}`)
    if (change.withdraw === 'groups') entering.left()
    return consents || get(() => path)
  }

  /** @type {Groups['logout']} */
  async function logout (options) {
    const { everywhere } = options || {}
    await endSession(async job => {
      if (!everywhere && !session.hasToken()) return
      const token = await session.token(job)
      try {
        await send(job, 'POST', '/logout', everywhere ? { everywhere } : {}, token)
      } catch (error) {
        if (error.status !== 401 || everywhere) throw error
      }
    })
    entering.forget()
  }

  /** @type {Promise<void> | null} */
  let deletion = null

  /** @type {Groups['deleteMe']} */
  function deleteMe () {
    const clear = () => { deletion = null }
    if (!deletion) {
      deletion = endSession(job => call(job, 'DELETE', '/me')).then(() => entering.left())
      deletion.then(clear, clear)
    }
    return deletion
  }

  function endSession (work) {
    return run(() => session.end(work)).then(() => kept.clear())
  }

  /** @type {Groups} */
  const groups = {
    enter,
    groups: query => get(() => '/groups', query),
    group: openGId => get(() => groupPath(openGId)),
    me: () => get(() => '/me'),
    boards: () => get(() => '/boards'),
    ranking: (openGId, query) => readRanking(() => `${groupPath(openGId)}/ranking`, query),
    around: (openGId, query) => readRanking(() => `${groupPath(openGId)}/ranking/around`, query),
    submitScore,
    report: async (openGId, data) => { await post(() => `${groupPath(openGId)}/reports`, data) },
    setNickname: nickname => put(() => '/me', { nickname }),
    setAlias: (openGId, alias) => changeMembership(openGId, { alias }),
    uploadAvatar,
    consent,
    hide: (openGId, hidden = true) => changeMembership(openGId, { hidden }),
    leave,
    link: (openGId, board) => post(() => `${groupPath(openGId)}/link`, board ? { board } : {}),
    share: shareCard,
    logout,
    deleteMe,
    onOnline: createOnline(phone.wx),
    request (path, options) {
      const { method = 'GET', data } = options || {}
      const address = () => path.startsWith('/') ? path : `/${path}`
      if (method === 'GET') return get(address, data)
      return run(job => call(job, method, address(), data))
    }
  }
  Object.defineProperty(groups, 'phone', { value: phone })
  register(settings.name || NAME, groups)
  return groups
}

/** Resolve to what `work()` returns; what it throws at once becomes a rejection. */
function resolved (work) {
  return new Promise(resolve => resolve(work()))
}

/** Return why another token is needed after `error`, or null if it would not help. */
function tokenReason (error) {
  if (error.status === 401) return 'expired'
  return error.code === 'session_stale' ? 'stale' : null
}

/** Return the address of the API, or null if there is none for this environment. */
function apiUrl (baseUrl, environment, cloud) {
  const url = baseUrl && typeof baseUrl === 'object' ? baseUrl[environment] : baseUrl
  if (typeof url === 'string' && url) return `${url.replace(/\/+$/, '').replace(/\/api\/v1$/, '')}/api/v1`
  return cloud ? '/api/v1' : null
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

/** Return the time of a response as the API writes it: `{ serverTime }`, or nothing if there is none. */
function serverTimeOf (header) {
  const time = Date.parse(headerOf(header, 'date'))
  if (isNaN(time)) return {}
  return { serverTime: new Date(time + 8 * 60 * 60 * 1000).toISOString().replace('Z', '+08:00') }
}

function currentPath (wx) {
  const pages = attempt(() => getCurrentPages()) || []
  const page = pages[pages.length - 1]
  return `/${page ? page.route : enterOptions(wx).path || ''}`
}

function randomKey () {
  const part = () => Math.random().toString(36).slice(2)
  return `${Date.now().toString(36)}-${part()}${part()}`.slice(0, 64)
}

// Components find a client by its name on the app: a bundler may make two copies of this module, one
// for the app and one for the components.

function appOrDefault () {
  return attempt(() => getApp({ allowDefault: true }))
}

function register (name, groups) {
  clients.set(name, groups)
  attempt(() => { appOrDefault()[name] = groups })
}

/** Return the client of this name and its phone, for components. */
function findClient (name) {
  const key = name || NAME
  const app = appOrDefault()
  const groups = (app && app[key] && app[key].phone && app[key]) || clients.get(key)
  if (!groups) throw new GroupsError('misconfigured', `groupsite: call createGroups({ baseUrl }) in app.js first (请先在 app.js 里调用 createGroups)`)
  return { groups, phone: groups.phone }
}

module.exports = { createGroups, GroupsError, findClient }
