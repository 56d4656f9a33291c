/** What the keys of `GET me/data` are called here; a key that is missing shows as it is. */
const SECTIONS = {
  user: '账号',
  tokens: '登录',
  consents: '同意记录',
  avatarChecks: '头像检测',
  memberships: '入群记录',
  scores: '成绩',
  idempotencyKeys: '成绩提交记录'
}

const FIELDS = {
  id: '编号',
  nickname: '昵称',
  nicknameState: '昵称审核',
  avatar: '头像',
  avatarState: '头像审核',
  profileComplete: '资料完整',
  appid: '小程序',
  openid: '用户标识 openid',
  unionid: '用户标识 unionid',
  shownNickname: '群友看到的昵称',
  shownAvatar: '群友看到的头像',
  status: '状态',
  firstSeen: '首次使用',
  sessionSince: '会话开始',
  staleEnvelopes: '解密失败次数',
  staleSince: '解密失败始于',
  createdAt: '创建时间',
  expiresAt: '到期时间',
  purpose: '用途',
  version: '版本',
  givenAt: '同意时间',
  traceId: '检测编号',
  sentAt: '送检时间',
  suggestion: '检测结论',
  label: '检测标签',
  joinedAt: '加入时间',
  verifiedAt: '最近从群进入',
  hidden: '已隐藏',
  alias: '群内名称',
  aliasState: '群内名称审核',
  openGId: '群标识 openGId',
  shownAlias: '群友看到的群内名称',
  leftAt: '退出时间',
  scene: '进入场景',
  watermarked: '带有微信水印',
  founded: '首位进入者',
  board: '榜单',
  period: '周期',
  value: '成绩',
  achievedAt: '取得时间',
  source: '来源',
  key: '提交编号',
  answer: '当时的结果'
}

const VALUES = {
  active: '正常',
  blocked: '已封禁',
  approved: '已通过',
  pending: '审核中',
  refused: '未通过',
  pass: '通过',
  review: '待复核',
  risky: '违规',
  entry: '从群进入',
  client: '小程序',
  server: '服务端',
  operator: '管理员'
}

module.exports = { SECTIONS, FIELDS, VALUES }
