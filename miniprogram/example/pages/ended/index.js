const TEXTS = {
  delete: {
    title: '你的数据已删除',
    notes: [
      '服务端不再保存你的头像、昵称、成绩和入群记录，现在可以关闭小程序了。',
      '继续使用会建立新的账号；要回到群排行，请从群里再点开一次卡片。'
    ]
  },
  logout: {
    title: '已退出登录',
    notes: ['你的数据和排行都还在，再次使用时会自动登录。']
  }
}

/** Make no call here: it would log in again, and after a deletion create a new account. */
Page({
  data: TEXTS.delete,

  onLoad ({ after }) {
    wx.setNavigationBarTitle({ title: after === 'logout' ? '已退出' : '已删除' })
    this.setData(TEXTS[after] || TEXTS.delete)
  },

  restart () {
    wx.reLaunch({ url: '/pages/ranking/index' })
  }
})
