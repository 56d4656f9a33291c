'use strict'

const zh = {
  ask: { title: '设置头像和昵称', body: '让群友在排行榜上认出你。不设置也能照常看排行', button: '开始设置' },
  refused: { title: '你没有同意隐私保护指引', body: '因此无法设置头像和昵称。排行榜照常可用，你随时可以重新选择', button: '重新选择' },
  contract: '查看隐私保护指引',
  failed: { title: '暂时无法显示', button: '重试' },
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
  nicknameStates: { pending: '新昵称审核中，通过前只有你能看到', refused: '昵称未通过审核，请换一个' }
}

const en = {
  ask: { title: 'Avatar and nickname', body: 'Help your group recognize you on the ranking. The ranking also works without them', button: 'Set up' },
  refused: { title: 'You did not agree to the privacy notice', body: 'So your avatar and nickname cannot be set. The ranking works without them, and you can choose again at any time', button: 'Choose again' },
  contract: 'Read the privacy notice',
  failed: { title: 'Not available right now', button: 'Try again' },
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
  nicknameStates: { pending: 'Your new nickname is under review. Only you can see it until it is approved', refused: 'Your nickname was not approved. Choose another one' }
}

module.exports = { zh, en }
