const { stateOf, toast } = require('../../utils/ui')

/** List the member's groups, the latest visit first, or a sample ranking if there are none. */
Component({
  data: { state: 'loading', message: '', groups: [], next: '' },
  lifetimes: {
    attached () {
      return this.load()
    }
  },
  // A user who comes back may have entered another group, or left one.
  pageLifetimes: {
    hide () {
      this.away = true
    },
    show () {
      if (this.away) this.load()
      this.away = false
    }
  },
  methods: {
    async load () {
      if (!this.data.groups.length) this.setData({ state: 'loading' })
      try {
        const page = await getApp().groups.groups()
        this.setData({ state: 'list', groups: page.groups, next: page.next || '' })
      } catch (error) {
        this.setData({ state: stateOf(error), message: error.message })
      }
    },
    async more () {
      try {
        const page = await getApp().groups.groups({ cursor: this.data.next })
        this.setData({ groups: this.data.groups.concat(page.groups), next: page.next || '' })
      } catch (error) {
        toast(error.message)
      }
    }
  }
})
