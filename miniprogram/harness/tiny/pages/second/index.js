const { log } = getApp()

Page({
  onLoad: query => log.push(`second ${JSON.stringify(query)}`)
})
