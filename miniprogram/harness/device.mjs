// The phone around the mini-program: what is set, what was done, and WeChat's own pop-ups.
// Tests reach it as `window.device`.

const DEFAULTS = {
  person: 'somebody',
  appid: '',
  sandbox: '',
  language: 'zh_CN',
  theme: 'light',
  platform: 'ios',
  sdk: '3.8.12',
  envVersion: 'develop',
  /** Calls this WeChat does not have, such as `getGroupEnterInfo`. */
  lacks: [],
  /** `{getGroupEnterInfo: {reason, errCode, errno}}`: calls that fail, and how. */
  failures: {},
  /** Some phones report `errCode: "40097"`. */
  codesAsStrings: false,
  /** agreed, unasked (a pop-up asks) or undeclared (the operator's guideline lacks it) */
  privacy: 'agreed',
  /** Names of chats by openGId, as only WeChat knows them. */
  chats: {}
}

class Device {
  constructor () {
    this.settings = DEFAULTS
    /** Every `wx` call by name; requests with `method`, `path` and, once answered, `status`. */
    this.calls = []
    this.toasts = []
    this.cards = []
    this.files = new Map()
    this.entry = this.launchedBy = null
    this.shareMenu = {}
  }

  set (settings) {
    this.settings = Object.assign({}, this.settings, settings)
  }

  note (name, details) {
    const call = Object.assign({ name }, details)
    this.calls.push(call)
    return call
  }

  trouble (error) {
    console.error(error instanceof Error ? error.stack : error)
  }

  /** A temporary file, as cameras and pickers give them. */
  addFile (blob) {
    const filePath = `wxfile://tmp_${Math.random().toString(36).slice(2)}.png`
    this.files.set(filePath, blob)
    return filePath
  }

  async addPicture (base64) {
    return this.addFile(await (await fetch(`data:image/png;base64,${base64}`)).blob())
  }

  /** What an <image> loads for `src`. */
  addressOf (src) {
    if (this.files.has(src)) return URL.createObjectURL(this.files.get(src))
    return src.startsWith('/') ? `files${src}` : src
  }

  /** Asks, and resolves to the button that was tapped. */
  ask ({ title = '', content = '', buttons, list = false }) {
    return new Promise(resolve => {
      const popup = document.createElement('div')
      popup.className = list ? 'popup list' : 'popup'
      const text = Object.assign(document.createElement('h3'), { textContent: title })
      const more = Object.assign(document.createElement('p'), { textContent: content })
      const footer = document.createElement('footer')
      for (const label of buttons) {
        const button = Object.assign(document.createElement('span'), { textContent: label })
        button.onclick = () => {
          popup.remove()
          resolve(label)
        }
        footer.append(button)
      }
      const box = document.createElement('div')
      box.append(text, more, footer)
      popup.append(box)
      document.getElementById('popups').append(popup)
    })
  }

  toast (text, duration) {
    this.toasts.push(text)
    this.hideToast()
    const toast = Object.assign(document.createElement('div'), { className: 'toast', textContent: text })
    document.getElementById('popups').append(toast)
    if (duration) setTimeout(() => toast.remove(), duration)
  }

  hideToast () {
    for (const toast of document.querySelectorAll('.toast')) toast.remove()
  }

  /** Whether private data may be used; asks first where nobody has decided. */
  async mayUsePrivateData () {
    if (this.settings.privacy !== 'unasked') return this.settings.privacy === 'agreed'
    const title = '用户隐私保护提示'
    const agreed = await this.ask({ title, buttons: ['拒绝', '同意'] }) === '同意'
    if (agreed) this.set({ privacy: 'agreed' })
    return agreed
  }
}

export const device = new Device()
