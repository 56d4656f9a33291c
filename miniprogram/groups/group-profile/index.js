'use strict'

const { inUse } = require('../index')
const texts = require('./texts')

Component({
  externalClasses: ['custom-class'],

  data: {
    t: texts.zh,
    /** loading, ask, refused, failed or form */
    state: 'loading',
    /** Why it failed. */
    detail: '',
    avatar: '',
    avatarState: 'approved',
    broken: false,
    nickname: '',
    nicknameState: 'approved',
    /** idle, running or failed */
    upload: 'idle',
    percent: 0,
    progress: '',
    uploadError: '',
    saving: false,
    saved: false,
    saveError: ''
  },

  lifetimes: {
    attached () {
      return this.refresh()
    }
  },

  methods: {
    async refresh () {
      this.setData({ state: 'loading' })
      try {
        this.client = inUse()
        this.setData({ t: texts[this.client.phone.language] })
        const [user, asks] = await Promise.all([this.client.groups.me(), this.mustAsk()])
        this.show(user)
        this.setData({ state: asks ? 'ask' : 'form' })
      } catch (error) {
        this.setData({ state: 'failed', detail: error.message })
      }
    },

    show ({ avatar, avatarState, nickname, nicknameState }) {
      this.setData({ avatar, avatarState, nickname, nicknameState, broken: false })
    },

    // Privacy: phones that do not know these calls do not ask either.

    async mustAsk () {
      try {
        return (await this.client.phone.call('getPrivacySetting')).needAuthorization
      } catch (_) {
        return false
      }
    },

    async onConsent () {
      try {
        await this.client.phone.call('requirePrivacyAuthorize')
        this.setData({ state: 'form' })
      } catch (error) {
        if (error.code === 'unsupported') this.setData({ state: 'form' })
        else this.setData({ state: 'refused' })
      }
    },

    onContract () {
      this.client.phone.call('openPrivacyContract').catch(() => {})
    },

    // The avatar: what WeChat gives is a file of the moment, so it is sent at once.

    onChooseAvatar (event) {
      this.file = event.detail.avatarUrl
      return this.onUpload()
    },

    async onUpload () {
      const file = this.file
      this.setData({ upload: 'running', uploadError: '', avatar: file, broken: false })
      this.progress(0)
      try {
        const onProgress = percent => this.file === file && this.progress(percent)
        const user = await this.client.groups.uploadAvatar(file, { onProgress })
        if (this.file !== file) return
        this.setData({ upload: 'idle', avatar: user.avatar, avatarState: user.avatarState })
        this.triggerEvent('saved', { user })
      } catch (error) {
        if (this.file === file) this.failUpload(error)
      }
    },

    progress (percent) {
      this.setData({ percent, progress: this.data.t.uploading.replace('{}', percent) })
    },

    failUpload (error) {
      if (error.code === 'privacy_refused') this.setData({ state: 'refused' })
      this.setData({ upload: 'failed', uploadError: error.message })
    },

    onBroken () {
      this.setData({ broken: true })
    },

    // The nickname: the keyboard's suggestion arrives without an input event, but is in the form.

    async onSubmit (event) {
      const nickname = (event.detail.value.nickname || '').trim()
      if (this.data.saving) return
      if (!nickname) return this.setData({ saveError: this.data.t.empty, saved: false })
      this.setData({ saving: true, saved: false, saveError: '', nickname })
      try {
        const user = await this.client.groups.setNickname(nickname)
        this.setData({ saving: false, saved: true, nicknameState: user.nicknameState })
        this.triggerEvent('saved', { user })
      } catch (error) {
        const [sentence] = (error.fields && error.fields.nickname) || []
        this.setData({ saving: false, saveError: sentence || error.message })
      }
    }
  }
})
