export default definePageConfig({
  navigationBarTitleText: '头像与昵称',
  // 原生组件只在微信里有。Native components exist in WeChat alone.
  usingComponents: process.env.TARO_ENV === 'weapp' ? { 'group-profile': 'groupsite/groups/group-profile/index' } : {}
})
