'use strict'

const zh = {
  windows: { day: '今天', week: '本周', month: '本月', all: '总榜' },
  people: '{} 人参与 · {time} 更新',
  periods: '周期',
  rank: '第 {} 名',
  noRank: '暂无名次',
  up: '上升 {} 名',
  down: '下降 {} 名',
  same: '名次不变',
  new: '新',
  newcomer: '新上榜',
  me: '我',
  more: '加载更多',
  moreFailed: '加载失败，点这里重试',
  loading: '加载中…',
  retry: '重试',
  hidden: '你已隐藏自己，只有你能看到自己的名次',
  alone: '群里还没有其他人，把小程序分享到群里，看看谁会来',
  stale: '刷新失败，显示的是之前的排行',
  empty: { title: '还没有人上榜', body: '第一名还空着' },
  single_chat: { title: '这里是单聊', body: '只有微信群才有群排行。把小程序分享到群里，再从群里打开' },
  left_group: { title: '你已不在这个群里', body: '重新进群，再从群里的卡片打开' },
  outside: { title: '从微信群里打开', body: '点开群里的小程序卡片，就能看到这个群的排行' },
  offline: { title: '网络连接失败', body: '请检查网络后重试' },
  error: { title: '暂时无法显示', body: '请稍后重试' },
  reasons: {
    no_ticket: '未能获取群信息，请回到群里，重新点开卡片',
    timeline: '朋友圈里看不到群排行，请从微信群里的卡片打开',
    privacy_refused: '你没有同意隐私保护指引，因此无法确认你在哪个群。重试时可以重新选择',
    privacy_undeclared: '小程序的隐私保护指引里没有声明群信息，请联系开发者',
    blocked: '管理员已停用你的账号',
    locked: '尝试次数太多，请一小时后再试',
    unavailable: '服务繁忙，请稍后重试',
    unsupported: '微信版本过低，请更新微信后再试'
  }
}

const en = {
  windows: { day: 'Today', week: 'This week', month: 'This month', all: 'All time' },
  people: '{} taking part · updated at {time}',
  periods: 'Period',
  rank: 'Rank {}',
  noRank: 'No rank',
  up: 'Up {}',
  down: 'Down {}',
  same: 'Unchanged',
  new: 'New',
  newcomer: 'New here',
  me: 'Me',
  more: 'Load more',
  moreFailed: 'Loading failed. Tap to try again',
  loading: 'Loading…',
  retry: 'Try again',
  hidden: 'You are hidden: only you can see your row',
  alone: 'No one else is here yet. Share the mini-program to the group and see who joins',
  stale: 'Could not refresh. This is the ranking from before',
  empty: { title: 'No one has scored yet', body: 'First place is still free' },
  single_chat: { title: 'This is a one-to-one chat', body: 'Only groups have rankings. Share the mini-program to a group and open it there' },
  left_group: { title: 'You are no longer in this group', body: 'Join it again, then open the card in the group' },
  outside: { title: 'Open it from a group', body: 'Tap the card in a WeChat group to see that group’s ranking' },
  offline: { title: 'No connection', body: 'Check the network and try again' },
  error: { title: 'Not available right now', body: 'Try again later' },
  reasons: {
    no_ticket: 'WeChat did not say which group this is. Go back to the group and tap the card again',
    timeline: 'Rankings are not available in Moments. Open the card in a WeChat group',
    privacy_refused: 'You did not agree to the privacy notice, so your group is unknown. Tap “Try again” to choose again',
    privacy_undeclared: 'The privacy notice does not declare group information. Please contact the developers',
    blocked: 'An operator has blocked your account',
    locked: 'Too many attempts. Try again in an hour',
    unavailable: 'The service is busy. Try again later',
    unsupported: 'This version of WeChat is too old. Please update it'
  }
}

module.exports = { zh, en }
