/** Show a dialog; resolves to whether the user confirmed it. */
function confirm (options) {
  return new Promise(resolve => {
    wx.showModal(Object.assign({}, options, {
      success: result => resolve(result.confirm),
      fail: () => resolve(false)
    }))
  })
}

function toast (text) {
  wx.showToast({ title: text, icon: 'none', duration: 3000 })
}

/** Return the state in which <notice> shows a GroupsError. */
function stateOf (error) {
  return ['offline', 'timeout', 'interrupted'].includes(error.code) ? 'offline' : 'error'
}

/** Copy a text. This fails if the privacy notice does not declare 剪切板; the text can still be selected. */
function copy (text) {
  wx.setClipboardData({
    data: text,
    fail: () => toast('复制失败，请长按文字选择')
  })
}

module.exports = { confirm, copy, stateOf, toast }
