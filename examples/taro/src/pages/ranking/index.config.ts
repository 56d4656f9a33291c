export default definePageConfig({
  navigationBarTitleText: '群排行',
  enableShareAppMessage: true,
  // 原生组件只在微信里有。Native components exist in WeChat alone.
  usingComponents: process.env.TARO_ENV === 'weapp' ? { 'group-ranking': 'groupsite/groups/group-ranking/index' } : {}
})
