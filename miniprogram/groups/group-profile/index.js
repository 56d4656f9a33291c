'use strict'

const { findClient } = require('../index')
const texts = require('./texts')

Component({
  externalClasses: ['custom-class'],

  data: {
    t: texts.zh,
    /** loading, ask, refused, failed or form */
    state: 'loading',
    /** The message of the state `failed`. */
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
        this.client = findClient()
        this.setData({ t: texts[this.client.phone.language] })
        const [user, needsConsent] = await Promise.all([this.client.groups.me(), this.needsConsent()])
        const { avatar, avatarState, nickname, nicknameState } = user
        this.setData({ avatar, avatarState, nickname, nicknameState, broken: false })
        this.setData({ state: needsConsent ? 'ask' : 'form' })
      } catch (error) {
        this.setData({ state: 'failed', detail: error.message })
      }
    },

    // Privacy: phones that lack these calls need no consent.

    async needsConsent () {
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

    // The avatar: WeChat gives a temporary file, so it is uploaded at once.

    onChooseAvatar (event) {
      this.file = event.detail.avatarUrl
      return this.onUpload()
    },

    async onUpload () {
      const file = this.file
      this.setData({ upload: 'running', uploadError: '', avatar: file, broken: false })
      this.showProgress(0)
      try {
        const onProgress = percent => this.file === file && this.showProgress(percent)
        const user = await this.client.groups.uploadAvatar(file, { onProgress })
        if (this.file !== file) return
        this.setData({ upload: 'idle', avatar: user.avatar, avatarState: user.avatarState })
        this.triggerEvent('saved', { user })
      } catch (error) {
        if (this.file !== file) return
        if (error.code === 'privacy_refused') this.setData({ state: 'refused' })
        this.setData({ upload: 'failed', uploadError: error.message })
      }
    },

    showProgress (percent) {
      this.setData({ percent, progress: this.data.t.uploading.replace('{}', percent) })
    },

    onBroken () {
      this.setData({ broken: true })
    },

    // The nickname: the keyboard's suggestion triggers no input event, but is in the submitted form.

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
        const [message] = (error.fields && error.fields.nickname) || []
        this.setData({ saving: false, saveError: message || error.message })
      }
    }
  }
})
