const { log } = getApp()

Page({
  data: { word: 'hello', name: '', openGId: '' },
  onLoad: query => log.push(`load ${JSON.stringify(query)}`),
  onShow: () => log.push('page show'),
  onReady: () => log.push('ready'),
  onHide: () => log.push('page hide'),
  onUnload: () => log.push('unload'),
  onReachBottom: () => log.push('bottom'),
  onPullDownRefresh: () => wx.stopPullDownRefresh(),
  onShareAppMessage: ({ from }) => ({ title: `by ${from}`, path: '/pages/second/index?x=1' }),
  onWord () {
    this.setData({ word: 'tapped' })
  },
  onBadge (event) {
    this.setData({ word: event.detail.word })
  },
  onForm: event => log.push(`form ${JSON.stringify(event.detail.value)}`),
  onSwitch: event => log.push(`switch ${event.detail.value}`),
  onAvatar (event) {
    this.file = event.detail.avatarUrl
    log.push('avatar')
  }
})
