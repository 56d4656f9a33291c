const TITLES = {
  loading: '加载中…',
  offline: '网络不可用',
  error: '出了点问题'
}

const HINTS = {
  offline: '请检查网络，再点重试。'
}

/** Show a message instead of the page's content, with a button that triggers `retry`. */
Component({
  properties: {
    state: String,
    message: String
  },
  data: { title: '', hint: '' },
  observers: {
    'state, message' (state, message) {
      this.setData({ title: TITLES[state] || '', hint: HINTS[state] || message })
    }
  },
  methods: {
    retry () {
      this.triggerEvent('retry')
    }
  }
})
