/** Asks; resolves to whether it was confirmed. */
function confirm (options) {
  return new Promise(resolve => {
    wx.showModal(Object.assign({}, options, {
      success: result => resolve(result.confirm),
      fail: () => resolve(false)
    }))
  })
}

function say (text) {
  wx.showToast({ title: text, icon: 'none', duration: 3000 })
}

/** What a page's <notice> shows of a GroupsError. */
function stateOf (error) {
  return ['offline', 'timeout', 'interrupted'].includes(error.code) ? 'offline' : 'error'
}

/** Fails where 剪切板 is not declared in the privacy guideline: then the text stays selectable. */
function copy (text) {
  wx.setClipboardData({
    data: text,
    fail: () => say('没能复制，请长按文字选择')
  })
}

module.exports = { confirm, say, stateOf, copy }
