// The phone that runs the mini-program: its settings, a record of calls, and WeChat's own pop-ups.
// Tests use it as `window.device`.

const DEFAULTS = {
  person: 'alice',
  appid: '',
  sandbox: '',
  language: 'zh_CN',
  theme: 'light',
  platform: 'ios',
  sdk: '3.8.12',
  envVersion: 'develop',
  /** Calls that this version of WeChat lacks, such as `getGroupEnterInfo`. */
  missingCalls: [],
  /** Calls that fail: `{getGroupEnterInfo: {reason, errCode, errno}}`. */
  failures: {},
  /** Whether error codes are strings, as on some phones: `errCode: "40097"`. */
  codesAsStrings: false,
  /** agreed, unasked (a pop-up asks) or undeclared (not in the privacy notice) */
  privacy: 'agreed',
  /** Names of chats by openGId, which only WeChat knows. */
  chats: {}
}

class Device {
  constructor () {
    this.settings = DEFAULTS
    /** All `wx` calls by name; requests have `method`, `path` and, after the response, `status`. */
    this.calls = []
    this.files = new Map()
    this.entry = this.launchedBy = null
    this.shareMenu = {}
  }

  set (settings) {
    this.settings = Object.assign({}, this.settings, settings)
  }

  record (name, details) {
    const call = Object.assign({ name }, details)
    this.calls.push(call)
    return call
  }

  logError (error) {
    console.error(error instanceof Error ? error.stack : error)
  }

  /** Add a temporary file, like those of the camera, and return its path. */
  addFile (blob) {
    const filePath = `wxfile://tmp_${Math.random().toString(36).slice(2)}.png`
    this.files.set(filePath, blob)
    return filePath
  }

  async addPicture (base64) {
    return this.addFile(await (await fetch(`data:image/png;base64,${base64}`)).blob())
  }

  /** Return the address from which an <image> loads `src`. */
  imageUrl (src) {
    if (this.files.has(src)) return URL.createObjectURL(this.files.get(src))
    return src.startsWith('/') ? `files${src}` : src
  }

  /** Show a pop-up; resolves to the label of the button that was tapped. */
  popUp ({ title = '', content = '', buttons, list = false }) {
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
    this.hideToast()
    const toast = Object.assign(document.createElement('div'), { className: 'toast', textContent: text })
    document.getElementById('popups').append(toast)
    if (duration) setTimeout(() => toast.remove(), duration)
  }

  hideToast () {
    for (const toast of document.querySelectorAll('.toast')) toast.remove()
  }

  /** Return whether private data may be used; asks the user if they have not decided yet. */
  async hasPrivacyConsent () {
    if (this.settings.privacy !== 'unasked') return this.settings.privacy === 'agreed'
    const title = '用户隐私保护提示'
    const agreed = await this.popUp({ title, buttons: ['拒绝', '同意'] }) === '同意'
    if (agreed) this.set({ privacy: 'agreed' })
    return agreed
  }
}

export const device = new Device()
