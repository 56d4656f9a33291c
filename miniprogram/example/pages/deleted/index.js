/** Calls nothing: any call would log in again, and so make a new account at once. */
Page({
  restart () {
    wx.reLaunch({ url: '/pages/ranking/index' })
  }
})
