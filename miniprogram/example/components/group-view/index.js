const app = getApp()

const RANKING_STATES = ['ready', 'empty']
const OUTSIDE_STATES = ['outside', 'left_group', 'single_chat']

/** Show the ranking of `openGid`, or of the group that the mini-program was opened from. */
Component({
  properties: { openGid: String },

  data: {
    /** Whether there is no group to show, and so the member's own ones are listed. */
    outside: false,
    group: null,
    boards: [],
    /** The board that was chosen, and the one that is shown. */
    board: '',
    shown: ''
  },

  methods: {
    onState (event) {
      const { state } = event.detail
      this.setData({ outside: OUTSIDE_STATES.includes(state) })
      if (!RANKING_STATES.includes(state)) this.setData({ group: null })
    },

    onRanking (event) {
      const { group, board } = event.detail
      app.openGId = group.openGId
      this.setData({ group, shown: board.key })
      if (!this.data.boards.length) this.loadBoards()
    },

    // The ranking works without this list: if the call fails, there is one board.
    async loadBoards () {
      const { boards } = await app.groups.boards().catch(() => ({ boards: [] }))
      this.setData({ boards })
    },

    chooseBoard (event) {
      this.setData({ board: event.currentTarget.dataset.key })
    }
  }
})
