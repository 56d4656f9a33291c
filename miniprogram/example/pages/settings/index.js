const { confirm, toast } = require('../../utils/ui')

const app = getApp()

/** The member's own: profile, data, privacy, and the end of it. */
Page({
  openContract () {
    if (!wx.openPrivacyContract) return toast('请更新微信后再试')
    wx.openPrivacyContract({ fail: () => toast('暂时打不开隐私保护指引，请稍后再试') })
  },

  async logout () {
    const sure = await confirm({
      title: '退出登录？',
      content: '你的数据和排行都会保留，下次使用时自动登录。',
      confirmText: '退出登录'
    })
    if (!sure) return
    try {
      await app.groups.logout()
      wx.reLaunch({ url: '/pages/ended/index?after=logout' })
    } catch (error) {
      toast(error.message)
    }
  },

  async deleteMe () {
    const sure = await confirm({
      title: '删除我的数据？',
      content: '头像、昵称、成绩和入群记录会立即删除，不能恢复。',
      confirmText: '继续',
      confirmColor: '#c8332b'
    })
    const certain = sure && await confirm({
      title: '最后确认',
      content: '现在就全部删除？',
      confirmText: '全部删除',
      confirmColor: '#c8332b'
    })
    if (!certain) return
    try {
      await app.groups.deleteMe()
      app.openGId = ''
      wx.reLaunch({ url: '/pages/ended/index?after=delete' })
    } catch (error) {
      toast(error.message)
    }
  }
})
