/** Make no call here: it would log in again and so create a new account. */
Page({
  restart () {
    wx.reLaunch({ url: '/pages/ranking/index' })
  }
})
