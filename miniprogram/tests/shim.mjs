/**
 * Run a built mini-program in Node, with its own files and a small `wx` over real HTTP: nothing of the
 * harness or of phone.mjs, so that the kit does not only fit those. WeChat's part is the sandbox.
 *
 *   SANDBOX_URL=… APP_ID=… PERSON=… CHAT=… node shim.mjs FOLDER
 *
 * Opens the app from a card in the chat, enters the group, reads its ranking, and prints both as JSON.
 */
import { readFileSync, existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'

/** A mini-program in `folder`; `wx` is what its scripts see under this name. */
export class MiniProgram {
  constructor (folder, wx) {
    this.folder = resolve(folder)
    this.modules = new Map()
    this.app = null
    this.defaults = {}
    this.registered = []
    const register = definition => this.registered.push(definition)
    this.context = vm.createContext({
      wx,
      global: {},
      console,
      setTimeout,
      clearTimeout,
      setInterval,
      clearInterval,
      App: definition => { this.app = Object.assign(definition, this.defaults) },
      Page: register,
      Component: register,
      Behavior: definition => definition,
      getApp: options => this.app || (options?.allowDefault ? this.defaults : undefined),
      getCurrentPages: () => []
    })
  }

  /** Return the exports of a file; each file runs once. */
  load (file) {
    const path = [file, `${file}.js`, join(file, 'index.js')].map(each => join(this.folder, each)).find(each => /\.js$/.test(each) && existsSync(each))
    if (!path) throw new Error(`there is no module ${file}`)
    if (!this.modules.has(path)) {
      const module = { exports: {} }
      this.modules.set(path, module)
      const require = id => this.load(join(dirname(path.slice(this.folder.length)), id))
      const source = `(function (require, module, exports) { ${readFileSync(path, 'utf8')}\n})`
      vm.runInContext(source, this.context, { filename: path })(require, module, module.exports)
    }
    return this.modules.get(path).exports
  }

  /** Load the files as WeChat does: the app, then every component and page that app.json leads to. */
  start () {
    this.load('app.js')
    const { pages } = this.json('app')
    const seen = new Set()
    const visit = unit => {
      if (seen.has(unit)) return
      seen.add(unit)
      for (const target of Object.values(this.json(unit).usingComponents || {})) {
        visit(join(target.startsWith('/') ? '' : dirname(unit), target).replace(/^\//, ''))
      }
      const before = this.registered.length
      this.load(`${unit}.js`)
      if (this.registered.length !== before + 1) throw new Error(`${unit}.js registers no page or component`)
    }
    pages.forEach(visit)
    this.app.onLaunch?.({ scene: 1001, path: pages[0], query: {} })
    return [...seen]
  }

  json (unit) {
    return JSON.parse(readFileSync(join(this.folder, `${unit}.json`), 'utf8'))
  }
}

/** Create the `wx` of a person's phone; `opened.launch` is how the app was opened last. */
export function createWx ({ sandbox, appid, person, opened, storage = new Map() }) {

  async function post (url, body) {
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) })
    return { isOk: response.ok, result: await response.json() }
  }

  const sealed = call => async (options = {}) => {
    const { shareTicket, needGroupOpenID, success, fail } = options
    const { isOk, result } = await post(`${sandbox}/phone/${call}`, { person, appid, shareTicket, needGroupOpenID })
    const settle = isOk ? success : fail
    settle?.(result)
  }

  const answers = {
    login: sealed('login'),
    getGroupEnterInfo: sealed('group-enter-info'),
    getShareInfo: sealed('share-info'),
    async request ({ url, method = 'GET', data, header, success, fail }) {
      try {
        const response = await fetch(url, { method, headers: header, body: method === 'GET' || !data ? undefined : JSON.stringify(data) })
        const text = await response.text()
        success({ statusCode: response.status, header: Object.fromEntries(response.headers), data: parsed(text) })
      } catch (error) {
        fail({ errMsg: `request:fail ${error.cause?.code || error.message}`, errno: 600001 })
      }
    },
    updateShareMenu: ({ success } = {}) => { success?.({ errMsg: 'updateShareMenu:ok' }) },
    getEnterOptionsSync: () => opened.launch,
    getLaunchOptionsSync: () => opened.launch,
    getAccountInfoSync: () => ({ miniProgram: { appId: appid, envVersion: 'develop' } }),
    getAppBaseInfo: () => ({ SDKVersion: '3.8.12', language: 'zh_CN' }),
    getSystemInfoSync: () => ({ SDKVersion: '3.8.12', language: 'zh_CN', platform: 'android', windowWidth: 375 }),
    getStorageSync: key => storage.get(key) ?? '',
    setStorageSync: (key, value) => { storage.set(key, value) },
    removeStorageSync: key => { storage.delete(key) },
    getWindowInfo: () => ({ windowWidth: 375, pixelRatio: 2 }),
    getDeviceInfo: () => ({ platform: 'android' }),
    canIUse: () => false,
    nextTick: work => setTimeout(work, 0),
    onAppShow () {},
    onAppHide () {},
    onNetworkStatusChange () {}
  }
  return answers
}

function parsed (text) {
  try {
    return JSON.parse(text)
  } catch (_) {
    return text
  }
}

async function main (folder) {
  const { SANDBOX_URL: sandbox, APP_ID: appid, PERSON: person, CHAT: chat } = process.env
  const card = await fetch(`${sandbox}/phone/open-card`, { method: 'POST', body: JSON.stringify({ person, appid, chat }) })
  const program = new MiniProgram(folder, createWx({ sandbox, appid, person, opened: { launch: await card.json() } }))
  const units = program.start()
  const groups = program.app.groupsite
  const entry = await groups.enter()
  const ranking = entry.group && await groups.ranking(entry.group.openGId)
  console.log(JSON.stringify({ units, entry, ranking }))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(process.argv[2])
  process.exit()
}
