export default defineAppConfig({
  pages: ['pages/ranking/index', 'pages/profile/index'],
  window: {
    navigationBarTitleText: '群排行',
    navigationBarBackgroundColor: '#ffffff',
    navigationBarTextStyle: 'black'
  },
  lazyCodeLoading: 'requiredComponents',
  // 涉及隐私的接口先征得用户同意。Ask before calls that concern privacy.
  __usePrivacyCheck__: true
})
