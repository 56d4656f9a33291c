const app = getApp()

/** Show the ranking of the group that the mini-program was opened from. */
Page({
  onShareAppMessage () {
    return app.groups.share({ title: '看看我们群的排行', path: '/pages/ranking/index' })
  }
})
