const log = []

App({
  log,
  wx,
  onLaunch: options => log.push(`launch ${options.scene}`),
  onShow: options => log.push(`show ${options.scene}`),
  onHide: () => log.push('hide'),
  /** Which of these names a module can see. */
  // eslint-disable-next-line no-eval
  seen: names => names.filter(name => eval(`typeof ${name}`) !== 'undefined'),
  packaged: require('kit')
})
