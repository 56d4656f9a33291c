const app = getApp()

const RANKING_STATES = ['ready', 'empty']

/** Show the ranking of the group that the mini-program was opened from, or of `openGId`. */
Page({
  data: {
    ready: false,
    openGId: '',
    state: 'loading',
    group: null,
    boards: [],
    game: false,
    /** The board that was chosen, and the one that is shown. */
    board: '',
    shown: ''
  },

  onLoad (query) {
    this.setData({ ready: true, openGId: query.openGId || '' })
  },

  async onPullDownRefresh () {
    await this.selectComponent('#ranking').refresh()
    wx.stopPullDownRefresh()
  },

  onState (event) {
    const { state } = event.detail
    this.setData(RANKING_STATES.includes(state) ? { state } : { state, group: null })
  },

  onRanking (event) {
    const { group, board } = event.detail
    this.setData({ group, shown: board.key })
    if (!this.data.boards.length) this.loadBoards()
  },

  // The ranking works without this list: if the call fails, there is one board and no game.
  async loadBoards () {
    const { boards } = await app.groups.boards().catch(() => ({ boards: [] }))
    this.setData({ boards, game: boards.some(board => board.writer === 'client') })
  },

  chooseBoard (event) {
    this.setData({ board: event.currentTarget.dataset.key })
  },

  onShareAppMessage () {
    return app.groups.share({ title: '看看我们群的排行', path: '/pages/ranking/index' })
  }
})
