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
  report: {
    title: '举报',
    close: '关闭',
    sent: '已收到举报，管理员会尽快处理',
    failed: '举报没有提交成功，请稍后重试',
    reasons: { advert: '广告', abuse: '辱骂', impersonation: '冒充他人', illegal: '违法违规', other: '其他原因' }
  },
  empty: { title: '还没有人上榜', body: '第一名还空着' },
  single_chat: { title: '这里是单聊', body: '只有微信群才有群排行。把小程序分享到群里，再从群里打开' },
  left_group: { title: '你已不在这个群的排行里', body: '再次从群里点开小程序卡片，就能回来' },
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

const zhHant = {
  windows: { day: '今天', week: '本週', month: '本月', all: '總榜' },
  people: '{} 人參與 · {time} 更新',
  periods: '週期',
  rank: '第 {} 名',
  noRank: '暫無名次',
  up: '上升 {} 名',
  down: '下降 {} 名',
  same: '名次不變',
  new: '新',
  newcomer: '新上榜',
  me: '我',
  more: '載入更多',
  moreFailed: '載入失敗，點這裡再試一次',
  loading: '載入中…',
  retry: '再試一次',
  hidden: '你已隱藏自己，只有你看得到自己的名次',
  alone: '群組裡還沒有其他人，把小程式分享到群組，看看誰會來',
  stale: '重新整理失敗，顯示的是先前的排行',
  report: {
    title: '檢舉',
    close: '關閉',
    sent: '已收到檢舉，管理員會盡快處理',
    failed: '檢舉沒有送出，請稍後再試',
    reasons: { advert: '廣告', abuse: '辱罵', impersonation: '冒充他人', illegal: '違法違規', other: '其他原因' }
  },
  empty: { title: '還沒有人上榜', body: '第一名還空著' },
  single_chat: { title: '這裡是單獨聊天', body: '只有微信群組才有群排行。把小程式分享到群組，再從群組裡開啟' },
  left_group: { title: '你已不在這個群組的排行裡', body: '再次從群組裡點開小程式卡片，就能回來' },
  outside: { title: '從微信群組裡開啟', body: '點開群組裡的小程式卡片，就能看到這個群組的排行' },
  offline: { title: '網路連線失敗', body: '請檢查網路後再試一次' },
  error: { title: '暫時無法顯示', body: '請稍後再試' },
  reasons: {
    no_ticket: '無法取得群組資訊，請回到群組，重新點開卡片',
    timeline: '朋友圈裡看不到群排行，請從微信群組裡的卡片開啟',
    privacy_refused: '你沒有同意隱私保護指引，因此無法確認你在哪個群組。再試一次時可以重新選擇',
    privacy_undeclared: '小程式的隱私保護指引裡沒有聲明群組資訊，請聯絡開發者',
    blocked: '管理員已停用你的帳號',
    locked: '嘗試次數太多，請一小時後再試',
    unavailable: '服務忙碌中，請稍後再試',
    unsupported: '微信版本過舊，請更新微信後再試'
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
  report: {
    title: 'Report',
    close: 'Close',
    sent: 'Thank you. The operators will look at your report',
    failed: 'The report was not sent. Try again later',
    reasons: { advert: 'Advertising', abuse: 'Abuse', impersonation: 'Impersonation', illegal: 'Illegal content', other: 'Another reason' }
  },
  empty: { title: 'No one has scored yet', body: 'First place is still free' },
  single_chat: { title: 'This is a one-to-one chat', body: 'Only groups have rankings. Share the mini-program to a group and open it there' },
  left_group: { title: 'You are no longer on this group’s ranking', body: 'Tap the card in the group again to come back' },
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

module.exports = { zh, 'zh-Hant': zhHant, en }
