const log = []
getApp({ allowDefault: true }).early = 'set before App'
wx.onNetworkStatusChange(({ isConnected }) => log.push(`connected ${isConnected}`))

App({
  appBefore: getApp(),
  log,
  wx,
  onLaunch: options => log.push(`launch ${options.scene}`),
  onShow: options => log.push(`show ${options.scene}`),
  onHide: () => log.push('hide'),
  /** Return which of these names a module can use. */
  // eslint-disable-next-line no-eval
  visibleNames: names => names.filter(name => eval(`typeof ${name}`) !== 'undefined'),
  packaged: require('kit')
})
