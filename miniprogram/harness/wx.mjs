// The `wx` object: real HTTP, the sandbox for log-in and groups, and the limits of the real `wx`.
import { device } from './device.mjs'

const METHODS = ['OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'TRACE', 'CONNECT'] // no PATCH
const MAX_REQUESTS = 10
const MAX_STORED_LENGTH = 1024 * 1024
const CHAT_SCENES = [1007, 1008, 1044, 1096, 1158, 1160, 1185]
const TIMEOUT = 60000

const FIRST_VERSIONS = {
  getEnterOptionsSync: '2.9.4',
  getGroupEnterInfo: '2.10.4',
  getAppBaseInfo: '2.20.1',
  getDeviceInfo: '2.20.1',
  getPrivacySetting: '2.32.3',
  requirePrivacyAuthorize: '2.32.3',
  openPrivacyContract: '2.32.3'
}

const NOT_FROM_CHAT = 40097
const UNDECLARED = { errno: 112, reason: 'api scope is not declared in the privacy agreement' }
const UNAUTHORIZED = { errno: 104, reason: 'privacy permission is not authorized' }

/** An error for the `fail` callback of a call. */
class Failure extends Error {
  constructor (reason, codes) {
    super(reason)
    this.codes = codes
  }
}

/** Create the `wx` object; `stage` shows pages, see runtime.mjs. */
export function createWx (stage) {
  const wx = {}
  const listeners = { onAppShow: [], onAppHide: [], onNetworkStatusChange: [] }
  const running = new Set()

  /** Define a call; without callbacks it returns a promise, unless it is one of the old calls. */
  function define (name, work, { callbacksOnly = false } = {}) {
    wx[name] = (options = {}) => {
      device.record(name)
      const promise = settle(name, options, work)
      if (callbacksOnly || options.success || options.fail || options.complete) return undefined
      return promise.then(({ ok, result }) => ok ? result : Promise.reject(result))
    }
  }

  async function settle (name, options, work) {
    const { ok, result } = await attempt(name, () => work(options))
    const callback = ok ? options.success : options.fail
    if (callback) callback(result)
    if (options.complete) options.complete(result)
    return { ok, result }
  }

  async function attempt (name, work) {
    try {
      const failure = device.settings.failures[name]
      if (failure) throw new Failure(failure.reason, failure)
      return { ok: true, result: Object.assign({}, await work(), { errMsg: `${name}:ok` }) }
    } catch (error) {
      return { ok: false, result: failureResult(name, error) }
    }
  }

  function failureResult (name, { message, codes }) {
    const result = { errMsg: `${name}:fail ${message}` }
    for (const key of ['errCode', 'errno']) {
      if (!codes || codes[key] === undefined) continue
      result[key] = device.settings.codesAsStrings ? String(codes[key]) : codes[key]
    }
    return result
  }

  // Log-in and groups

  async function callSandbox (call, details) {
    const { person, appid, sandbox } = device.settings
    const body = JSON.stringify(Object.assign({ person, appid }, details))
    const response = await fetch(`${sandbox}/phone/${call}`, { method: 'POST', body })
      .catch(() => { throw new Failure('network error') })
    const { errMsg, errCode, ...result } = await response.json()
    if (!response.ok) throw new Failure(errMsg.replace(/^\w+:fail /, ''), { errCode })
    return result
  }

  define('login', () => callSandbox('login'))
  define('checkSession', () => ({}))
  define('getShareInfo', ({ shareTicket = '' }) => callSandbox('share-info', { shareTicket }), { callbacksOnly: true })
  define('getGroupEnterInfo', ({ needGroupOpenID }) => {
    if (!CHAT_SCENES.includes(device.entry.scene)) {
      throw new Failure('not from a chat', { errCode: NOT_FROM_CHAT })
    }
    return callSandbox('group-enter-info', needGroupOpenID ? { needGroupOpenID } : {})
  }, { callbacksOnly: true })
  define('showShareMenu', options => { device.shareMenu = Object.assign({}, options, { shown: true }) })
  define('updateShareMenu', options => { Object.assign(device.shareMenu, options) })

  // Privacy

  define('getPrivacySetting', () => ({
    needAuthorization: device.settings.privacy === 'unasked',
    privacyContractName: '《示例隐私保护指引》'
  }), { callbacksOnly: true })
  define('requirePrivacyAuthorize', async () => {
    if (device.settings.privacy === 'undeclared') throw new Failure(UNDECLARED.reason, UNDECLARED)
    if (!await device.hasPrivacyConsent()) throw new Failure(UNAUTHORIZED.reason, UNAUTHORIZED)
  }, { callbacksOnly: true })
  define('openPrivacyContract', () => {})

  // The network

  /** Start `work(task)` and return its task; `transfer` sets `task.cancel`. */
  function startTask (name, options, work) {
    const task = {}
    const call = device.record(name, { method: options.method || 'GET', path: pathOf(options.url) })
    settle(name, options, () => whileRunning(task, async () => {
      const result = await work(task)
      call.status = result.statusCode
      return result
    }))
    return {
      abort: () => task.cancel && task.cancel('abort'),
      onProgressUpdate: listener => { task.onProgress = listener }
    }
  }

  async function whileRunning (task, work) {
    if (running.size >= MAX_REQUESTS) throw new Failure(`more than ${MAX_REQUESTS} requests at once`)
    running.add(task)
    try {
      return await work()
    } finally {
      running.delete(task)
    }
  }

  wx.request = options => startTask('request', options, task => {
    const method = (options.method || 'GET').toUpperCase()
    if (!METHODS.includes(method)) throw new Failure(`invalid method ${method}`)
    const { url, body } = urlAndBody(options, method)
    const header = Object.assign({ 'content-type': 'application/json' }, options.header)
    return transfer(task, { method, url, header, body, timeout: options.timeout })
      .then(response => Object.assign(response, { data: parseBody(response.data) }))
  })

  wx.uploadFile = options => startTask('uploadFile', Object.assign({ method: 'POST' }, options), task => {
    if (!device.files.has(options.filePath)) throw new Failure(`file not found ${options.filePath}`)
    const body = new FormData()
    for (const [key, value] of Object.entries(options.formData || {})) body.append(key, value)
    body.append(options.name, device.files.get(options.filePath), options.filePath.split('/').pop())
    const { url, header, timeout } = options
    return transfer(task, { method: 'POST', url, header, body, timeout })
  })

  // Storage

  wx.getStorageSync = key => {
    const stored = localStorage.getItem(`stored ${key}`)
    return stored === null ? '' : JSON.parse(stored)
  }
  wx.setStorageSync = (key, value) => {
    const stored = JSON.stringify(value)
    if (stored === undefined || hasFunction(value)) throw new Error('setStorageSync:fail parameter error')
    if (stored.length > MAX_STORED_LENGTH) throw new Error('setStorageSync:fail entry size limit reached')
    localStorage.setItem(`stored ${key}`, stored)
  }
  wx.removeStorageSync = key => localStorage.removeItem(`stored ${key}`)

  // The phone

  const baseInfo = () => {
    const { sdk, language, theme } = device.settings
    return { SDKVersion: sdk, language, theme, version: '8.0.56' }
  }
  wx.getAppBaseInfo = baseInfo
  wx.getDeviceInfo = () => ({ platform: device.settings.platform, brand: 'harness', model: 'browser' })
  wx.getSystemInfoSync = () => Object.assign({ platform: device.settings.platform }, baseInfo())
  wx.getAccountInfoSync = () => {
    const { appid, envVersion } = device.settings
    return { miniProgram: { appId: appid, envVersion, version: '' } }
  }
  wx.getLaunchOptionsSync = () => device.launchedBy
  wx.getEnterOptionsSync = () => device.entry
  wx.onAppShow = listener => listeners.onAppShow.push(listener)
  wx.onAppHide = listener => listeners.onAppHide.push(listener)
  wx.onNetworkStatusChange = listener => listeners.onNetworkStatusChange.push(listener)
  wx.offNetworkStatusChange = listener => {
    listeners.onNetworkStatusChange = listeners.onNetworkStatusChange.filter(other => other !== listener)
  }
  for (const [event, isConnected] of [['online', true], ['offline', false]]) {
    window.addEventListener(event, () => listeners.onNetworkStatusChange
      .forEach(listener => listener({ isConnected, networkType: isConnected ? 'wifi' : 'none' })))
  }
  wx.nextTick = work => setTimeout(work, 0)
  wx.canIUse = name => name in wx
  define('setClipboardData', ({ data }) => {
    device.clipboard = data
    device.toast('内容已复制', 1500)
  })

  // Pop-ups and pages

  define('showModal', async ({ title, content, showCancel = true, cancelText = '取消', confirmText = '确定' }) => {
    const buttons = showCancel ? [cancelText, confirmText] : [confirmText]
    const confirm = await device.popUp({ title, content, buttons }) === confirmText
    return { confirm, cancel: !confirm }
  })
  define('showActionSheet', async ({ itemList }) => {
    const tapIndex = itemList.indexOf(await device.popUp({ buttons: [...itemList, '取消'], list: true }))
    if (tapIndex < 0) throw new Failure('cancel')
    return { tapIndex }
  })
  define('showToast', ({ title, duration = 1500 }) => device.toast(title, duration))
  define('hideToast', () => device.hideToast())
  define('showLoading', ({ title }) => device.toast(title))
  define('hideLoading', () => device.hideToast())
  define('setNavigationBarTitle', ({ title }) => stage.title(title))
  define('startPullDownRefresh', () => stage.pullDown())
  define('stopPullDownRefresh', () => stage.stopPullDown())
  for (const name of ['navigateTo', 'redirectTo', 'reLaunch', 'switchTab', 'navigateBack']) {
    define(name, options => stage[name](options))
  }

  for (const [name, version] of Object.entries(FIRST_VERSIONS)) {
    if (isOlder(device.settings.sdk, version)) delete wx[name]
  }
  for (const name of device.settings.missingCalls) delete wx[name]

  return {
    wx,
    appShown: options => listeners.onAppShow.forEach(listener => listener(options)),
    appHidden: () => listeners.onAppHide.forEach(listener => listener()),
    interrupt: () => running.forEach(task => task.cancel && task.cancel('interrupted'))
  }
}

/** Send a request with XMLHttpRequest, because fetch has no upload progress. */
function transfer (task, { method, url, header, body, timeout = TIMEOUT }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open(method, url)
    for (const [name, value] of Object.entries(header || {})) request.setRequestHeader(name, value)
    request.timeout = timeout
    request.upload.onprogress = ({ loaded, total }) => {
      const progress = Math.round(100 * loaded / total)
      if (task.onProgress) task.onProgress({ progress, totalBytesSent: loaded, totalBytesExpectedToSend: total })
    }
    request.onload = () => resolve({
      statusCode: request.status,
      data: request.responseText,
      header: headersOf(request),
      cookies: []
    })
    request.ontimeout = () => reject(new Failure('timeout', { errno: 5 }))
    request.onerror = () => {
      const [code, name] = navigator.onLine ? [-102, 'CONNECTION_REFUSED'] : [-106, 'INTERNET_DISCONNECTED']
      reject(new Failure(`errcode:${code} cronet_error_code:${code} error_msg:net::ERR_${name}`, { errno: 600001 }))
    }
    task.cancel = reason => {
      request.abort()
      reject(new Failure(reason))
    }
    request.send(body)
  })
}

function headersOf (request) {
  const lines = request.getAllResponseHeaders().trim().split('\r\n')
  const capitalize = name => name.replace(/(^|-)[a-z]/g, letter => letter.toUpperCase())
  return Object.fromEntries(lines.map(line => line.split(': ')).map(([name, ...rest]) => [capitalize(name), rest.join(': ')]))
}

function urlAndBody ({ url, data }, method) {
  if (!/^https?:\/\//.test(url)) throw new Failure(`invalid url "${url}"`)
  if (data === undefined || data === null) return { url }
  if (typeof data === 'string' || data instanceof ArrayBuffer) return { url, body: data }
  if (method !== 'GET') return { url, body: JSON.stringify(data) }
  const query = new URLSearchParams(data).toString()
  return { url: query ? url + (url.includes('?') ? '&' : '?') + query : url }
}

function parseBody (text) {
  try {
    return JSON.parse(text)
  } catch (_) {
    return text
  }
}

function pathOf (url) {
  return URL.canParse(url) ? new URL(url).pathname : String(url)
}

function hasFunction (value) {
  if (typeof value === 'function') return true
  return typeof value === 'object' && value !== null && Object.values(value).some(hasFunction)
}

function isOlder (version, other) {
  const [numbers, otherNumbers] = [version, other].map(text => text.split('.').map(Number))
  const first = otherNumbers.findIndex((number, index) => number !== numbers[index])
  return first >= 0 && numbers[first] < otherNumbers[first]
}
