const { stateOf } = require('../../utils/ui')

const app = getApp()
const SECONDS = 10

/**
 * Count taps in ten seconds, for the first board that the mini-program may write. Scores sent by a
 * phone can be forged: real games should send theirs from their own server.
 */
Page({
  data: { openGId: '', state: 'loading', message: '', board: null, count: 0, left: SECONDS },

  onShow () {
    this.setData({ openGId: app.openGId })
    return this.load()
  },

  onUnload () {
    clearInterval(this.timer)
  },

  async load () {
    if (this.data.board) return
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
    // Without a group the game is for fun, unless its board counts for all groups at once.
    if (this.data.board.scope === 'group' && !this.data.openGId) return this.setData({ state: 'alone' })
    this.setData({ state: 'sending' })
    try {
      await app.groups.submitScore(this.score)
      this.setData({ state: 'done' })
      const ranking = this.selectComponent('#ranking')
      if (ranking) ranking.refresh()
    } catch (error) {
      // With the same key the score counts once, even if the first request did arrive.
      this.score.idempotencyKey = error.idempotencyKey
      this.setData({ state: 'unsent', message: error.message })
    }
  }
})

function scoreOf ({ board, count, openGId }) {
  const score = { board: board.key, value: count * Math.pow(10, board.decimals) }
  return board.scope === 'group' ? Object.assign(score, { openGId }) : score
}
