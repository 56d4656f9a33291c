var app = getApp()

Page({
  data: { text: '加载中…', title: '', members: [] },

  onLoad: function () {
    var that = this
    app.onResult = function (result) {
      that.setData({
        text: result.text || '',
        title: result.title || '',
        members: result.members || []
      })
    }
    if (app.result) app.onResult(app.result)
  },

  // 让转发出去的卡片带上 shareTicket。
  onShow: function () {
    wx.showShareMenu({ withShareTicket: true })
  },

  // 变化：2018 年 10 月起没有 success、fail，也就没有 res.shareTickets：转发者点开卡片才算入群。
  onShareAppMessage: function () {
    return { title: '看看群里都有谁', path: '/pages/index/index' }
  }
})
