const { confirm, copy, stateOf, toast } = require('../../utils/ui')

const app = getApp()

const ALIAS_NOTES = {
  approved: '只在这个群的排行里显示，不填就显示昵称',
  pending: '审核中，通过前只有你能看到',
  refused: '未通过审核，请换一个'
}

/** Settings of the member within the group `openGId`. */
Page({
  data: { state: 'loading', message: '', group: null, hidden: false, alias: '', aliasNote: '', link: '' },

  onLoad (query) {
    this.openGId = query.openGId
    return this.load()
  },

  async load () {
    this.setData({ state: 'loading' })
    try {
      const group = await app.groups.group(this.openGId)
      this.setData({ state: 'group', group, hidden: group.membership.hidden })
      this.showAlias(group.membership)
    } catch (error) {
      this.setData({ state: stateOf(error), message: error.message })
    }
  },

  showAlias ({ alias, aliasState }) {
    this.setData({ alias, aliasNote: ALIAS_NOTES[aliasState] || ALIAS_NOTES.approved })
  },

  async saveAlias (event) {
    try {
      this.showAlias(await app.groups.setAlias(this.openGId, event.detail.value.alias.trim()))
      toast('已保存')
    } catch (error) {
      const [message] = (error.fields && error.fields.alias) || []
      toast(message || error.message)
    }
  },

  async hide (event) {
    const hidden = event.detail.value
    this.setData({ hidden })
    try {
      await app.groups.hide(this.openGId, hidden)
    } catch (error) {
      this.setData({ hidden: !hidden })
      toast(error.message)
    }
  },

  async copyLink () {
    try {
      const { url } = await app.groups.link(this.openGId)
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
      await app.groups.leave(this.openGId)
      app.openGId = ''
      wx.reLaunch({ url: '/pages/ranking/index' })
    } catch (error) {
      toast(error.message)
    }
  }
})
