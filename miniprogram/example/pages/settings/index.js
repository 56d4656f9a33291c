const { confirm, copy, stateOf, toast } = require('../../utils/ui')

const app = getApp()

/** Settings of the member: in the group `openGId`, if there is one, and for the whole account. */
Page({
  data: { openGId: '', state: 'loading', message: '', group: null, hidden: false, link: '' },

  onLoad (query) {
    this.setData({ openGId: query.openGId || '' })
    return this.load()
  },

  async load () {
    if (!this.data.openGId) return
    this.setData({ state: 'loading' })
    try {
      const group = await app.groups.request(`/groups/${this.data.openGId}`)
      this.setData({ state: 'group', group, hidden: group.membership.hidden })
    } catch (error) {
      this.setData({ state: stateOf(error), message: error.message })
    }
  },

  async hide (event) {
    const hidden = event.detail.value
    this.setData({ hidden })
    try {
      await app.groups.hide(this.data.openGId, hidden)
    } catch (error) {
      this.setData({ hidden: !hidden })
      toast(error.message)
    }
  },

  async copyLink () {
    try {
      const { url } = await app.groups.link(this.data.openGId)
      this.setData({ link: url })
      copy(url)
    } catch (error) {
      toast(error.message)
    }
  },

  async leave () {
    const sure = await confirm({
      title: '退出这个群的排行？',
      content: '你会从排行里消失，微信群本身不受影响。再次从群里点开卡片就会回来。',
      confirmText: '退出',
      confirmColor: '#c8332b'
    })
    if (!sure) return
    try {
      await app.groups.leave(this.data.openGId)
      wx.reLaunch({ url: '/pages/ranking/index' })
    } catch (error) {
      toast(error.message)
    }
  },

  openContract () {
    if (!wx.openPrivacyContract) return toast('请更新微信后再试')
    wx.openPrivacyContract({ fail: () => toast('暂时打不开隐私保护指引，请稍后再试') })
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
      wx.reLaunch({ url: '/pages/deleted/index' })
    } catch (error) {
      toast(error.message)
    }
  }
})
