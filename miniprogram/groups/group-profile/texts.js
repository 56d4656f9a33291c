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
  ask: { title: 'Avatar and nickname', body: 'So that your group knows you on the ranking. It works without them too', button: 'Set them' },
  refused: { title: 'You did not agree to the privacy notice', body: 'Avatar and nickname need it. The ranking works without them, and you can choose anew at any time', button: 'Choose anew' },
  contract: 'Read the privacy notice',
  failed: { title: 'Not available at the moment', button: 'Try again' },
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
  avatarStates: { pending: 'The new avatar is in review; until then only you see it', refused: 'The avatar was refused. Choose another' },
  nicknameStates: { pending: 'The new nickname is in review; until then only you see it', refused: 'The nickname was refused. Choose another' }
}

module.exports = { zh, en }
