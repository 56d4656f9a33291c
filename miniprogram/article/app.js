// 服务端地址。
var API = 'http://127.0.0.1:8000/api/v1'

App({
  // 群成员点开卡片时，从这里得到 shareTicket。
  onShow: function (options) {
    // 场景值 1044：带 shareTicket 的群聊卡片。
    if (options.scene === 1044) {
      this.enter(options.shareTicket, true)
    } else {
      this.showLatestGroup()
    }
  },

  // 变化：不从群里打开时（搜索、扫码、平台审核），显示最近打开过的群，不留空白。
  showLatestGroup: function () {
    var that = this
    this.login(function () {
      that.call('GET', '/groups', {}, function (answer) {
        if (answer.groups.length) return that.showMembers(answer.groups[0])
        that.showResult({ text: '请从微信群里的卡片打开' })
      })
    })
  },

  // 变化：先登录，再取密文。登录可能更换加密密文的 session_key，先取的密文就解不开了。
  enter: function (shareTicket, canRetry) {
    var that = this
    this.login(function () {
      that.getShareInfo(shareTicket, canRetry)
    })
  },

  // 变化：登录得到 token，之后每个请求都带上它；服务端据此识别用户，不看请求里写的 openid。
  login: function (done) {
    var that = this
    wx.login({
      success: function (res) {
        that.post('/login', { code: res.code }, function (answer) {
          that.token = answer.token
          done()
        })
      },
      fail: function () {
        that.showResult({ text: '微信登录失败，请重新打开' })
      }
    })
  },

  // 取加密信息。变化：2.17.3 起推荐 wx.getGroupEnterInfo，它不需要 shareTicket。
  getShareInfo: function (shareTicket, canRetry) {
    var that = this
    wx.getShareInfo({
      shareTicket: shareTicket,
      success: function (res) {
        that.decode(res.encryptedData, res.iv, shareTicket, canRetry)
      },
      fail: function () {
        that.showResult({ text: '未能获取群信息，请回到群里重新点开卡片' })
      }
    })
  },

  // 后台解密，得到 openGId。变化：同时得到 openid 和 ticket，后者证明解密过这个群的密文。
  decode: function (encryptedData, iv, shareTicket, canRetry) {
    var that = this
    this.post('/groups/resolve', { encryptedData: encryptedData, iv: iv }, function (answer) {
      that.bind(answer)
    }, function (error) {
      // 变化：密文过期就从头再来一次：登录、重新取密文。用同一份密文重试没有用。
      if (error.code === 'session_stale' && canRetry) return that.enter(shareTicket, false)
      that.showResult({ text: error.detail })
    })
  },

  // 将 openGId 与 openid 绑定。变化：没有 ticket 的绑定会被拒绝，因为这两个 id 谁都能伪造。
  bind: function (decoded) {
    var that = this
    this.post('/groups/bind', {
      openGId: decoded.openGId,
      openid: decoded.openid,
      ticket: decoded.ticket,
      scene: 1044
    }, function (answer) {
      that.showMembers(answer.group)
    })
  },

  // 群成员的列表，就是文章开头看到的那个。变化：服务端分页返回，一页一页取完整个群。
  showMembers: function (group) {
    var that = this
    var members = []
    function read (cursor) {
      var query = { limit: 100 }
      if (cursor) query.cursor = cursor
      that.call('GET', '/groups/' + group.openGId + '/ranking', query, function (ranking) {
        ranking.entries.forEach(function (entry) {
          // 翻页之间名次可能变化：同一个人只留一行。
          members = members.filter(function (member) { return member.id !== entry.member.id })
          members.push({
            id: entry.member.id,
            nickname: entry.member.nickname,
            avatar: entry.member.avatar,
            score: entry.scoreText
          })
        })
        that.showResult({ title: group.title, members: members })
        if (ranking.next) read(ranking.next)
      })
    }
    read()
  },

  post: function (path, data, done, failed) {
    this.call('POST', path, data, done, failed)
  },

  call: function (method, path, data, done, failed) {
    var that = this
    failed = failed || function (error) {
      // 已经取到的成员留着，只在上面加一句话。
      var shown = that.result || {}
      that.showResult({ text: error.detail, title: shown.title, members: shown.members })
    }
    var header = { 'Accept-Language': 'zh-CN' }
    if (this.token) header.Authorization = 'Bearer ' + this.token
    wx.request({
      url: API + path,
      method: method,
      data: data,
      header: header,
      success: function (res) {
        // 网关的错误页不是 JSON，也没有 detail。
        var isAnswer = res.data && typeof res.data === 'object'
        if (isAnswer && res.statusCode < 300) return done(res.data)
        failed(isAnswer && res.data.detail ? res.data : { code: 'unavailable', detail: '服务暂时不可用，请稍后重新打开' })
      },
      fail: function () {
        failed({ code: 'offline', detail: '网络连接失败，请检查网络后重新打开' })
      }
    })
  },

  // 页面可能比结果晚打开：先保存结果，页面打开时再取。
  showResult: function (result) {
    this.result = result
    if (this.onResult) this.onResult(result)
  }
})
