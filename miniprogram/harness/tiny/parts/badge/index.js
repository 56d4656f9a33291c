const { log } = getApp()

Component({
  properties: { word: String },
  pageLifetimes: {
    show: () => log.push('badge show'),
    hide: () => log.push('badge hide')
  },
  methods: {
    onTap () {
      this.triggerEvent('tapped', { word: 'from the badge' })
    }
  }
})
