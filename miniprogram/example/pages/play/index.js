const { stateOf } = require('../../utils/ui')

const app = getApp()
const SECONDS = 10

/**
 * How often one taps in ten seconds, for the first board that phones may write. A score that a
 * phone sends can be forged: real games send theirs from their own server.
 */
Page({
  data: { openGId: '', state: 'loading', message: '', board: null, count: 0, left: SECONDS },

  onLoad (query) {
    this.setData({ openGId: query.openGId || '' })
    return this.load()
  },

  onUnload () {
    clearInterval(this.timer)
  },

  async load () {
    this.setData({ state: 'loading' })
    try {
      const { boards } = await app.groups.boards()
      const board = boards.find(each => each.writer === 'client') || null
      this.setData({ state: board ? 'idle' : 'none', board })
    } catch (error) {
      this.setData({ state: stateOf(error), message: error.message })
    }
  },

  start () {
    this.setData({ state: 'running', count: 0, left: SECONDS })
    this.timer = setInterval(() => this.tick(), 1000)
  },

  tick () {
    this.setData({ left: this.data.left - 1 })
    if (this.data.left > 0) return
    clearInterval(this.timer)
    this.score = scoreOf(this.data)
    this.send()
  },

  tap () {
    this.setData({ count: this.data.count + 1 })
  },

  async send () {
    this.setData({ state: 'sending' })
    try {
      await app.groups.submitScore(this.score)
      this.setData({ state: 'done' })
      this.selectComponent('#ranking').refresh()
    } catch (error) {
      // With its key, sending again counts once, whether or not the first one arrived.
      this.score.idempotencyKey = error.idempotencyKey
      this.setData({ state: 'unsent', message: error.message })
    }
  }
})

function scoreOf ({ board, count, openGId }) {
  const score = { board: board.key, value: count * Math.pow(10, board.decimals) }
  return board.scope === 'group' ? Object.assign(score, { openGId }) : score
}
