const { log } = getApp()

Page({
  data: { height: 2000, top: 0, pulled: false },
  onLoad: () => log.push('tab load'),
  onShow: () => log.push('tab show'),
  onHide: () => log.push('tab hide'),
  onScroll: ({ detail }) => log.push(`scroll ${detail.scrollTop}`),
  onLower: () => log.push('lower'),
  onPull () {
    log.push('pull')
    this.setData({ pulled: true })
    setTimeout(() => this.setData({ pulled: false }), 50)
  }
})
