const app = getApp()

/** Show the ranking of the group `openGId`, one of the member's own. */
Page({
  data: { openGId: '' },

  onLoad (query) {
    this.setData({ openGId: query.openGId })
  },

  // The card opens the group that it was sent to, not this one.
  onShareAppMessage () {
    return app.groups.share({ title: '看看我们群的排行', path: '/pages/ranking/index' })
  }
})
