const app = getApp()

Page({
  onShareAppMessage () {
    return app.groups.share({ title: '看看我们群的排行', path: '/pages/ranking/index' })
  }
})
