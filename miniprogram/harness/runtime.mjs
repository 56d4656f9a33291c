// Run the mini-program that build.mjs wrote into `window.miniProgram`: its modules, its pages and
// their life cycle, on WeChat's glass-easel.
import { MiniProgramEnv, glassEasel } from 'glass-easel-miniprogram-adapter'
import { BUILT_IN } from './built-in.mjs'
import { registerBuiltIns } from './components.mjs'
import { device } from './device.mjs'
import { createWx } from './wx.mjs'

const { app, theme, units, styles, modules, templates, builtIns } = window.miniProgram

// Browser globals that mini-programs lack: undefined in every module.
const BROWSER = [
  'window', 'self', 'globalThis', 'document', 'navigator', 'location', 'history', 'fetch', 'XMLHttpRequest',
  'WebSocket', 'EventSource', 'localStorage', 'sessionStorage', 'indexedDB', 'alert', 'confirm', 'prompt', 'crypto',
  'URL', 'URLSearchParams', 'Headers', 'Request', 'Response', 'FormData', 'Blob', 'File', 'FileReader',
  'AbortController', 'TextEncoder', 'TextDecoder', 'structuredClone', 'atob', 'btoa', 'Image', 'Event',
  'CustomEvent', 'EventTarget', 'device', 'miniProgram'
]
const MAX_PAGES = 10
const BOTTOM_DISTANCE = 50

glassEasel.globalOptions.throwGlobalError = false
// As in WeChat, a listener may be set on the instance later: uni-app's are.
glassEasel.globalOptions.useMethodCallerListeners = true
// WeChat's events are plain objects: uni-app looks whether an event has a `detail` of its own.
const { wrapShadowedEvent } = glassEasel.Event.prototype
glassEasel.Event.prototype.wrapShadowedEvent = function (...elements) {
  const event = wrapShadowedEvent.apply(this, elements)
  return Object.assign(event, { type: this.type, detail: this.detail })
}
// Returning false keeps glass-easel from printing them too.
glassEasel.addGlobalErrorListener(error => device.logError(error) || false)
glassEasel.addGlobalWarningListener(warning => device.logError(`glass-easel: ${warning}`) || false)
// `wx` rejects with plain objects, which the browser would log as "Object".
window.addEventListener('unhandledrejection', event => {
  if (!event.reason || !event.reason.errMsg) return
  event.preventDefault()
  device.logError(event.reason.errMsg)
})

const environment = new MiniProgramEnv()
const codeSpace = environment.createCodeSpace('', true)
const backend = createBackend()

function createBackend () {
  const context = new glassEasel.CurrentWindowBackendContext()
  // <button> and other built-in tags must not become the browser's own elements.
  context.document = {
    createElement: tag => document.createElement(BUILT_IN.includes(tag) ? `wx-${tag}` : tag),
    createTextNode: text => document.createTextNode(text),
    createDocumentFragment: () => document.createDocumentFragment()
  }
  // Without this, events of the browser reach no component, and there is no error.
  context.onEvent((target, type, detail, options) => glassEasel.triggerEvent(target, type, detail, options))
  return environment.associateBackend(context)
}

// Modules

let instance = null
let phone = null
// What getApp({ allowDefault: true }) gives before App is called; App adds to it.
const defaultInstance = {}
const loaded = {}
const global = {}

// These are global, as in WeChat: frameworks call them from any module, and replace them by their own.
let constructors = {}
for (const name of ['Page', 'Component', 'Behavior']) {
  window[name] = definition => {
    if (!constructors[name]) throw new Error(`${name} is for the files of pages and components`)
    return constructors[name](definition)
  }
}

function load (file) {
  if (loaded[file]) return loaded[file].exports
  const module = loaded[file] = { exports: {} }
  const globals = {
    require: id => load(resolve(file, id)),
    module,
    exports: module.exports,
    global,
    wx: phone.wx,
    App: definition => { instance = Object.assign(defaultInstance, definition) },
    getApp: ({ allowDefault = false } = {}) => instance || (allowDefault ? defaultInstance : undefined),
    getCurrentPages: () => stack.map(page => page.instance)
  }
  // Two functions, so that a module may declare one of the browser's names itself.
  const source = `return function (${Object.keys(globals)}) { 'use strict'; ${modules[file]}\n}\n//# sourceURL=mini-program/${file}`
  // eslint-disable-next-line no-new-func
  new Function(...BROWSER, source)()(...Object.values(globals))
  return module.exports
}

/** Resolve a relative path to a file, or a package in the nearest `miniprogram_npm` above. */
function resolve (from, id) {
  const folder = from.split('/').slice(0, -1)
  const candidates = /^\.\.?\//.test(id)
    ? [normalize([...folder, ...id.split('/')])]
    : folder.concat('').map((_, index) => folder.slice(0, folder.length - index))
      .map(parents => [...parents, 'miniprogram_npm', id].join('/'))
      .flatMap(candidate => [candidate, `${candidate}/index`])
  const found = candidates.flatMap(candidate => [candidate, `${candidate}.js`])
    .find(candidate => candidate in modules)
  if (!found) throw new Error(`module '${id}' is not defined, required from ${from}`)
  return found
}

function normalize (parts) {
  const path = []
  for (const part of parts) {
    if (part === '..') path.pop()
    else if (part !== '.') path.push(part)
  }
  return path.join('/')
}

function register () {
  codeSpace.addStyleSheet('app', 'app')
  for (const [url, text] of Object.entries(styles)) backend.registerStyleSheetContent(url, text)
  for (const [path, { config, scope }] of Object.entries(units)) {
    codeSpace.addStyleSheet(path, path, scope || undefined)
    codeSpace.addComponentStaticConfig(path, config)
    codeSpace.addCompiledTemplate(path, { groupList: templates, content: templates[path] })
  }
  const pagesLast = Object.keys(units).sort((one, other) => units[one].isPage - units[other].isPage)
  for (const path of pagesLast) {
    codeSpace.componentEnv(path, given => {
      constructors = given
      load(`${path}.js`)
      constructors = {}
    })
  }
}

// Pages

let stack = []
/** The pages of the tab bar that were opened: they stay, by their path. */
const tabPages = new Map()
let refreshing = false

class Page {
  constructor (url) {
    const [path, query = ''] = url.replace(/^\//, '').split('?')
    if (!app.pages.includes(path)) throw new Error(`page "${path}" is not found`)
    this.path = path
    this.config = Object.assign({}, app.window, units[path].config)
    // As in WeChat, the query is not decoded.
    this.query = Object.fromEntries(query.split('&').filter(Boolean).map(pair => pair.split(/=(.*)/s)))
    this.root = backend.createRoot('page', codeSpace, path)
    this.instance = this.root.get()
    Object.assign(this.instance, { route: path, options: this.query })
  }

  call (name, argument) {
    try {
      return this.instance[name] && this.instance[name](argument)
    } catch (error) {
      return device.logError(error)
    }
  }

  lifetime (name) {
    this.root.getComponent().triggerPageLifetime(name, [])
  }

  open () {
    this.frame = document.createElement('div')
    this.frame.dataset.page = this.path
    const placeholder = this.frame.appendChild(document.createElement('span'))
    document.getElementById('screen').append(this.frame)
    this.frame.addEventListener('scroll', () => this.onScroll())
    this.root.attach(this.frame, placeholder)
    this.call('onLoad', this.query)
    this.show()
    this.call('onReady')
  }

  show () {
    this.frame.className = 'frame'
    this.paint()
    this.call('onShow')
    this.lifetime('show')
  }

  cover () {
    this.frame.className = 'frame below'
    this.hide()
  }

  hide () {
    this.call('onHide')
    this.lifetime('hide')
  }

  close () {
    this.call('onUnload')
    this.root.release()
    this.frame.remove()
  }

  paint () {
    const value = name => themed(this.config[name])
    const bar = document.getElementById('bar')
    bar.style.background = value('navigationBarBackgroundColor') || '#000'
    bar.style.color = value('navigationBarTextStyle') || 'white'
    this.frame.style.background = value('backgroundColor') || '#fff'
    document.getElementById('title').textContent = value('navigationBarTitleText') || ''
    document.getElementById('back').hidden = stack.length < 2
    paintTabs(this.path)
  }

  onScroll () {
    const { scrollHeight, clientHeight, scrollTop } = this.frame
    const atBottom = scrollHeight - clientHeight - scrollTop < BOTTOM_DISTANCE
    if (atBottom && !this.atBottom) this.call('onReachBottom')
    this.atBottom = atBottom
  }
}

function themed (value) {
  const { theme: scheme } = device.settings
  return /^@/.test(value) ? theme[app.darkmode ? scheme : 'light'][value.slice(1)] : value
}

function tabs () {
  return app.tabBar ? app.tabBar.list : []
}

function isTab (path) {
  return tabs().some(({ pagePath }) => pagePath === path)
}

/** Paint the tab bar below the pages that it has, and make room for it. */
function paintTabs (path) {
  const bar = document.getElementById('tabs')
  bar.hidden = !isTab(path)
  document.documentElement.style.setProperty('--tabs', bar.hidden ? '0px' : '')
  if (bar.hidden) return
  const { color, selectedColor, backgroundColor } = app.tabBar
  bar.style.background = themed(backgroundColor)
  bar.replaceChildren(...tabs().map(({ pagePath, text }) => {
    const isChosen = pagePath === path
    const tab = Object.assign(document.createElement('span'), { textContent: text, role: 'tab', ariaSelected: isChosen })
    tab.style.color = themed(isChosen ? selectedColor : color)
    tab.onclick = () => stage.switchTab({ url: `/${pagePath}` })
    return tab
  }))
}

function top () {
  return stack[stack.length - 1]
}

function openPage (url, below) {
  const page = new Page(url)
  if (isTab(page.path) && below.length) throw new Error('can not open a tabbar page here')
  const closed = [...new Set([...stack, ...tabPages.values()])].filter(other => !below.includes(other) && !(below.length && isTab(other.path)))
  if (!below.length) tabPages.clear()
  if (isTab(page.path)) tabPages.set(page.path, page)
  if (below.length && below[below.length - 1] === top()) top().cover()
  for (const other of closed.reverse()) other.close()
  stack = [...below, page]
  page.open()
}

/** Resolve a path, which may be relative to the open page. */
function absolute (url) {
  return url.startsWith('/') || !top() ? url : normalize([...top().path.split('/').slice(0, -1), ...url.split('/')])
}

const stage = {
  navigateTo ({ url }) {
    if (stack.length >= MAX_PAGES) throw new Error(`webview count limit exceed`)
    openPage(absolute(url), stack)
  },
  redirectTo: ({ url }) => openPage(absolute(url), stack.slice(0, -1)),
  reLaunch: ({ url }) => openPage(absolute(url), []),
  switchTab ({ url }) {
    const path = absolute(url).replace(/^\//, '')
    if (!isTab(path)) throw new Error('can not switch to no-tabBar page')
    if (top().path === path) return
    if (isTab(top().path)) top().cover()
    for (const page of stack.filter(({ path }) => !isTab(path)).reverse()) page.close()
    const page = tabPages.get(path) || new Page(path)
    stack = [page]
    if (tabPages.has(path)) return page.show()
    tabPages.set(path, page)
    page.open()
  },
  navigateBack ({ delta = 1 } = {}) {
    const remaining = Math.max(1, stack.length - delta)
    if (remaining === stack.length) throw new Error('cannot navigate back at first page.')
    for (const page of stack.slice(remaining).reverse()) page.close()
    stack = stack.slice(0, remaining)
    top().show()
  },
  title (text) {
    document.getElementById('title').textContent = text
  },
  pullDown () {
    const list = top().frame.querySelector('wx-scroll-view[refresher]')
    if (list) return list.pull()
    if (!top().config.enablePullDownRefresh) throw new Error(`${top().path} cannot be pulled down`)
    refreshing = true
    top().call('onPullDownRefresh')
  },
  stopPullDown () {
    refreshing = false
  },
  /** Share the page, and return the card. */
  share (from, target) {
    const page = top()
    if (!page.instance.onShareAppMessage) throw new Error(`${page.path} cannot be shared`)
    const shared = page.call('onShareAppMessage', { from, target }) || {}
    const { withShareTicket = false } = device.shareMenu
    return Object.assign({ title: app.window.navigationBarTitleText, path: `/${page.path}` }, shared, { withShareTicket })
  }
}

// The app

function callApp (name, options) {
  try {
    if (instance[name]) instance[name](options)
  } catch (error) {
    device.logError(error)
  }
}

function urlOf ({ path, query }) {
  const pairs = Object.entries(query || {}).map(([name, value]) => `${name}=${value}`)
  return `/${path}${pairs.length ? '?' : ''}${pairs.join('&')}`
}

Object.assign(device, {
  /** Start the mini-program. */
  launch (options, settings) {
    device.set(settings)
    device.entry = device.launchedBy = Object.assign({ path: app.pages[0], query: {} }, options)
    document.documentElement.classList.toggle('v2', app.style === 'v2')
    phone = createWx(stage)
    registerBuiltIns(codeSpace.getComponentSpace(), builtIns, stage)
    load('app.js')
    register()
    callApp('onLaunch', device.entry)
    callApp('onShow', device.entry)
    phone.appShown(device.entry)
    openPage(urlOf(device.entry), [])
  },
  hide ({ interrupting = false } = {}) {
    top().hide()
    callApp('onHide')
    phone.appHidden()
    if (interrupting) phone.interrupt()
  },
  /** Return from the background: to the `path` of a card, or to the page that was open. */
  show (options) {
    if (options) device.entry = Object.assign({ path: app.pages[0], query: {} }, options)
    callApp('onShow', device.entry)
    phone.appShown(device.entry)
    if (options && options.path) openPage(urlOf(device.entry), [])
    else top().show()
  },
  share: () => stage.share('menu'),
  pullDown: () => stage.pullDown(),
  back: () => stage.navigateBack(),
  isRefreshing: () => refreshing || Boolean(top().frame.querySelector('wx-scroll-view[refreshing]')),
  app: () => instance,
  currentPage: () => top().instance
})

document.getElementById('back').onclick = () => stage.navigateBack()
document.getElementById('menu').onclick = () => stage.share('menu')
window.device = device
