/**
 * A simulated phone: a `wx` object with a server behind it that is as strict as the real one.
 * Every wx.login makes a new key, data is encrypted with the current key, and the server decrypts
 * only with the key of the code that it exchanged last.
 */
import { createRequire } from 'node:module'
import { setImmediate as nextTurn } from 'node:timers/promises'

export const kit = createRequire(import.meta.url)('../groups/index.js')

const MAX_MILLISECONDS = 10 * 60 * 1000
const API = 'https://site.example/api/v1'

export class Phone {
  constructor (entry = { scene: 1044, shareTicket: 'ticket-1', query: {} }) {
    this.entry = entry
    this.key = 0
    this.chat = 'family'
    this.storage = new Map()
    this.sent = []
    this.called = []
    this.active = 0
    this.maxActive = 0
    this.scripts = new Map()
    this.failures = new Map()
    this.hideListeners = []
    this.server = { key: null, tokens: new Set(), binds: 0 }
    this.wx = this.makeWx()
  }

  /** Start the app: return a client on this phone. */
  start (options = {}) {
    return kit.createGroups({ baseUrl: 'https://site.example', wx: this.wx, diagnostics: 0, ...options })
  }

  /** Set the next responses to `route` ("GET /me"): [status, body, header], { fail } or a function. */
  script (route, ...responses) {
    this.scripts.set(route, responses)
    return this
  }

  /** Make the next calls of a `wx` function fail with these errors; `null` is a success. */
  fail (name, ...errors) {
    this.failures.set(name, errors)
    return this
  }

  /** Go Home, and come back with these options. */
  comeBack (entry = this.entry) {
    this.hideListeners.forEach(listener => listener())
    this.entry = entry
  }

  count (name) {
    return [...this.sent.map(({ route }) => route), ...this.called].filter(one => one === name).length
  }

  logInElsewhere () {
    this.key += 1
  }

  revokeTokens () {
    this.server.tokens.clear()
  }

  makeWx () {
    const callback = (name, work) => options => {
      this.called.push(name)
      // Like the real call, this returns no promise.
      nextTurn().then(() => this.settle(name, options, work))
    }
    return {
      login: callback('login', () => ({ code: `code-${(this.key += 1)}` })),
      getGroupEnterInfo: callback('getGroupEnterInfo', () => this.seal()),
      getShareInfo: callback('getShareInfo', () => this.seal()),
      updateShareMenu: callback('updateShareMenu', () => ({})),
      showShareMenu: callback('showShareMenu', () => ({})),
      request: options => this.request(options),
      uploadFile: options => this.upload(options),
      getEnterOptionsSync: () => this.entry,
      getAccountInfoSync: () => ({ miniProgram: { appId: 'wxapp', envVersion: 'release' } }),
      getAppBaseInfo: () => ({ SDKVersion: '3.7.12', language: 'zh_CN' }),
      getDeviceInfo: () => ({ platform: 'ios' }),
      getStorageSync: key => this.storage.get(key) ?? '',
      setStorageSync: (key, value) => { this.storage.set(key, value) },
      removeStorageSync: key => { this.storage.delete(key) },
      onAppHide: listener => { this.hideListeners.push(listener) }
    }
  }

  seal () {
    return { encryptedData: `sealed-${this.key}`, iv: 'iv', cloudID: 'cloud', errMsg: 'ok' }
  }

  settle (name, { success, fail }, work) {
    const error = this.failures.get(name)?.shift()
    if (error) fail(error)
    else success(work())
  }

  async request (options) {
    const route = `${options.method} ${options.url.replace(API, '').split('?')[0]}`
    this.sent.push({ route, ...options })
    await this.countActive(async () => {
      const script = this.scripts.get(route)
      const scripted = script?.length ? script.shift() : undefined
      const response = typeof scripted === 'function' ? await scripted(options) : scripted
      const { fail, statusCode, data, header } = this.unpack(response ?? this.serve(route, options))
      if (fail) options.fail(fail)
      else options.success({ statusCode, data, header, errMsg: 'request:ok' })
    })
  }

  async countActive (work) {
    this.active += 1
    this.maxActive = Math.max(this.maxActive, this.active)
    await nextTurn()
    this.active -= 1
    await work()
  }

  unpack (response) {
    if (!Array.isArray(response)) return response
    const [statusCode, data, header = {}] = response
    return { statusCode, data, header }
  }

  upload (options) {
    const listeners = []
    nextTurn().then(() => [30, 100].forEach(progress => listeners.forEach(listener => listener({ progress }))))
    this.request({ method: 'POST', ...options })
    return { onProgressUpdate: listener => listeners.push(listener), abort () {} }
  }

  serve (route, { header, data }) {
    if (route === 'POST /login') return this.serveLogin(data)
    const token = (header.authorization || '').replace('Bearer ', '')
    if (!this.server.tokens.has(token)) return errorResponse(401, 'invalid_token')
    if (route === 'POST /groups/bind') return this.serveBind(data)
    if (/\/ranking(\/around)?$/.test(route)) return [200, { route, entries: [] }]
    return [200, { route }]
  }

  serveLogin ({ code }) {
    const { server } = this
    server.key = Number(code.replace('code-', ''))
    const token = `token-${server.key}`
    server.tokens.add(token)
    return [200, { token, expiresAt: '2026-12-25T08:00:00.000+08:00', user: {} }]
  }

  serveBind ({ encryptedData }) {
    if (encryptedData !== `sealed-${this.server.key}`) return errorResponse(409, 'session_stale')
    const created = !this.server.binds++
    return [created ? 201 : 200, { created, group: { openGId: this.chat }, openGId: this.chat }]
  }
}

export function errorResponse (status, code, more = {}) {
  return [status, { code, detail: `${code} explained`, requestId: 'r-1', ...more }]
}

/** Run `work` with fake timers; return its value or error, and the milliseconds it waited. */
export async function withFakeTime (t, work) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  const startedAt = Date.now()
  let ended = false
  const outcome = work().then(value => ({ value }), error => ({ error }))
  outcome.then(() => { ended = true })
  while (!ended) {
    for (let turn = 0; turn < 40 && !ended; turn += 1) await nextTurn()
    if (!ended) t.mock.timers.tick(100)
    if (Date.now() - startedAt > MAX_MILLISECONDS) throw new Error('this never ends')
  }
  const elapsed = Date.now() - startedAt
  t.mock.timers.reset()
  return { ...(await outcome), elapsed }
}
