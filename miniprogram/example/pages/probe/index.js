const { copy } = require('../../utils/ui')
const { hideIds } = require('./phone')
const { PROBES, run } = require('./probes')

/** Try on this phone what only a real one can tell, and put together a report to copy. */
Page({
  data: {
    probes: PROBES.map(({ key, title, why }) => ({ key, title, why, running: false, lines: [] })),
    faces: [],
    /** What the nickname's field gave: each event, and the form's value. */
    keyboard: []
  },

  async run (event) {
    const { key } = event.currentTarget.dataset
    this.change(key, { running: true, lines: [] })
    const page = { renderer: this.renderer, showFaces: faces => this.setData({ faces }) }
    this.change(key, { running: false, lines: await run(key, page) })
  },

  change (key, changes) {
    const probes = this.data.probes.map(probe => probe.key === key ? Object.assign({}, probe, changes) : probe)
    this.setData({ probes })
  },

  // The nickname's keyboard: its suggestion may come without an input event, and after the submit.

  onKeyboard ({ type, detail }) {
    const { value = '', pass } = detail
    const verdict = pass === undefined ? '' : `，检测${pass ? '通过' : '不通过'}`
    const { keyboard } = this.data
    const line = { number: keyboard.length, text: `${type}：${value.length} 个字${verdict}` }
    this.setData({ keyboard: keyboard.concat(line) })
  },

  onNickname (event) {
    this.onKeyboard({ type: '提交', detail: { value: event.detail.value.nickname || '' } })
  },

  copyReport () {
    const { scene } = wx.getEnterOptionsSync ? wx.getEnterOptionsSync() : {}
    const done = this.data.probes.filter(({ lines }) => lines.length)
      .concat(this.data.keyboard.length ? { title: '昵称键盘', lines: this.data.keyboard.map(({ text }) => text) } : [])
    const results = done.map(({ title, lines }) => `${title}：${lines.join('；')}`)
    copy(hideIds(['groupsite 真机检测', `场景 ${scene}`].concat(results).join('\n')))
  }
})
