'use strict'

const zh = {
  ask: { title: '设置头像和昵称', body: '头像和昵称用来让群友在排行榜上认出你，只展示给和你同群的人。不设置也能照常看排行', button: '同意并设置' },
  refused: { title: '你没有同意隐私保护指引', body: '因此无法设置头像和昵称。排行榜照常可用，你随时可以重新选择', button: '重新选择' },
  contract: '查看隐私保护指引',
  error: { title: '暂时无法显示', body: '出了点问题，请稍后重试', button: '重试' },
  loading: '加载中…',
  avatar: '头像',
  choose: '点击更换头像',
  uploading: '上传中 {}%',
  retry: '重新上传',
  nickname: '昵称',
  placeholder: '请输入昵称',
  empty: '请填写昵称',
  save: '保存',
  saving: '保存中…',
  saved: '已保存',
  avatarStates: { pending: '新头像审核中，通过前只有你能看到', refused: '头像未通过审核，请换一张' },
  nicknameStates: { pending: '新昵称审核中，通过前只有你能看到', refused: '昵称未通过审核，请换一个' },
  consents: '我的同意',
  purposes: { nickname: '昵称', avatar: '头像', groups: '群和成绩' },
  given: '{date} 同意，版本 {version}',
  notGiven: '没有记录',
  agree: '同意',
  withdraw: '撤回同意',
  cancel: '取消',
  withdrawn: {
    nickname: '你的昵称和群内名称会立即删除。',
    avatar: '你的头像会立即删除。',
    groups: '你会退出所有群的排行。微信群本身不受影响。'
  }
}

const zhHant = {
  ask: { title: '設定頭像和暱稱', body: '頭像和暱稱讓群友在排行榜上認出你，只顯示給同群組的人。不設定也能照常看排行', button: '同意並設定' },
  refused: { title: '你沒有同意隱私保護指引', body: '因此無法設定頭像和暱稱。排行榜照常可用，你隨時可以重新選擇', button: '重新選擇' },
  contract: '查看隱私保護指引',
  error: { title: '暫時無法顯示', body: '發生了一點問題，請稍後再試', button: '再試一次' },
  loading: '載入中…',
  avatar: '頭像',
  choose: '點一下更換頭像',
  uploading: '上傳中 {}%',
  retry: '重新上傳',
  nickname: '暱稱',
  placeholder: '請輸入暱稱',
  empty: '請填寫暱稱',
  save: '儲存',
  saving: '儲存中…',
  saved: '已儲存',
  avatarStates: { pending: '新頭像審核中，通過前只有你看得到', refused: '頭像未通過審核，請換一張' },
  nicknameStates: { pending: '新暱稱審核中，通過前只有你看得到', refused: '暱稱未通過審核，請換一個' },
  consents: '我的同意',
  purposes: { nickname: '暱稱', avatar: '頭像', groups: '群組和成績' },
  given: '{date} 同意，版本 {version}',
  notGiven: '沒有紀錄',
  agree: '同意',
  withdraw: '撤回同意',
  cancel: '取消',
  withdrawn: {
    nickname: '你的暱稱和群組內名稱會立即刪除。',
    avatar: '你的頭像會立即刪除。',
    groups: '你會退出所有群組的排行。微信群組本身不受影響。'
  }
}

const en = {
  ask: { title: 'Avatar and nickname', body: 'They help your group recognize you on the ranking, and only people in the same groups see them. The ranking also works without them', button: 'Agree and set up' },
  refused: { title: 'You did not agree to the privacy notice', body: 'So your avatar and nickname cannot be set. The ranking works without them, and you can choose again at any time', button: 'Choose again' },
  contract: 'Read the privacy notice',
  error: { title: 'Not available right now', body: 'Something went wrong. Try again later', button: 'Try again' },
  loading: 'Loading…',
  avatar: 'Avatar',
  choose: 'Tap to change',
  uploading: 'Uploading {}%',
  retry: 'Upload again',
  nickname: 'Nickname',
  placeholder: 'Your nickname',
  empty: 'Enter a nickname',
  save: 'Save',
  saving: 'Saving…',
  saved: 'Saved',
  avatarStates: { pending: 'Your new avatar is under review. Only you can see it until it is approved', refused: 'Your avatar was not approved. Choose another one' },
  nicknameStates: { pending: 'Your new nickname is under review. Only you can see it until it is approved', refused: 'Your nickname was not approved. Choose another one' },
  consents: 'My consent',
  purposes: { nickname: 'Nickname', avatar: 'Avatar', groups: 'Groups and scores' },
  given: 'Given on {date}, version {version}',
  notGiven: 'Not recorded',
  agree: 'Agree',
  withdraw: 'Withdraw',
  cancel: 'Cancel',
  withdrawn: {
    nickname: 'Your nickname and your names within groups will be deleted at once.',
    avatar: 'Your avatar will be deleted at once.',
    groups: 'You will leave the rankings of all groups. The chats themselves stay as they are.'
  }
}

module.exports = { zh, 'zh-Hant': zhHant, en }
