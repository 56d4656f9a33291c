const { createGroups } = require('groupsite')
const { baseUrl, demoCode } = require('./config')

function logInToDemo () {
  return new Promise((resolve, reject) => {
    wx.request({
      url: `${baseUrl.develop}/api/v1/login`,
      method: 'POST',
      data: { code: demoCode },
      success: ({ data }) => resolve(data.token),
      fail: reject
    })
  })
}

App({
  groups: createGroups({ baseUrl, getToken: demoCode ? logInToDemo : undefined })
})
