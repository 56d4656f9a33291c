'use strict'

const { connect, disconnect, isUnreachable, messageOf, textsOf } = require('../component')
const texts = require('./texts')

// What the form collects; `groups` is what a ranking is made from, and is listed to be withdrawn.
const FORM = ['nickname', 'avatar']
const PURPOSES = FORM.concat('groups')

// People may read WeChat's pop-up for a while.
const PATIENCE = 5 * 60 * 1000

Component({
  externalClasses: ['custom-class'],

  properties: {
    /** The version of the privacy notice; another one asks for consent again. */
    privacyVersion: { type: String, value: '1' },
    /** Replaces texts, at any depth of those in texts.js; strings only. */
    texts: Object,
    /** The name that createGroups gave to its client. */
    client: { type: String, value: 'groupsite' }
  },

  data: {
    t: texts.zh,
    /** loading, ask, refused, error or form */
    state: 'loading',
    /** The message of the state `error`. */
    detail: '',
    /** Each purpose, with when it was agreed to, if it was. */
    consents: [],
    hasConsents: false,
    /** Which purposes of the form are agreed to, in this version. */
    agreed: {},
    consenting: false,
    consentError: '',
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

  observers: {
    'privacyVersion, texts, client' () {
      if (this.isAttached) this.refresh()
    }
  },

  lifetimes: {
    attached () {
      this.isAttached = true
      return this.refresh()
    },
    detached () {
      this.isAttached = false
      disconnect(this)
    }
  },

  methods: {
    async refresh () {
      this.setData({ state: 'loading', t: textsOf(texts, this) })
      try {
        const { groups } = connect(this)
        this.setData({ t: textsOf(texts, this) })
        const [user, given, isAsked] = await Promise.all([groups.me(), groups.consent(), this.isAskedByWeChat()])
        const { id, avatar, avatarState, nickname, nicknameState } = user
        if (!id) throw new TypeError('this is no user')
        this.isOffline = false
        this.showConsents(given, isAsked)
        this.setData({ avatar, avatarState, nickname, nicknameState, broken: false })
      } catch (error) {
        this.isOffline = isUnreachable(error)
        this.setData({ state: 'error', detail: messageOf(error, this.data.t.error.body) })
      }
    },

    onOnline () {
      if (this.isOffline) this.refresh()
    },

    // Consent: WeChat's own, to its privacy notice, and the record of it on the server.

    // Phones that lack this call need no consent, and one that does not answer cannot tell.
    async isAskedByWeChat () {
      const { phone } = this.client
      if (typeof phone.wx.getPrivacySetting !== 'function') return false
      try {
        const { needAuthorization } = await phone.callWithTimeout('getPrivacySetting', { timeout: 2000 })
        return needAuthorization
      } catch (_) {
        return false
      }
    },

    /** Show what was agreed to, and the form if any of it is for the form. */
    showConsents ({ consents }, isAsked) {
      const { privacyVersion, t } = this.data
      const agreed = {}
      const rows = PURPOSES.map(purpose => {
        const given = consents.filter(one => one.purpose === purpose)
        agreed[purpose] = given.some(({ version }) => version === privacyVersion)
        const { givenAt, version } = given.find(one => one.version === privacyVersion) || given[0] || {}
        const since = givenAt ? t.given.replace('{date}', givenAt.slice(0, 10)).replace('{version}', version) : t.notGiven
        return { purpose, name: t.purposes[purpose], since, isGiven: given.length > 0 }
      })
      const isReady = !isAsked && FORM.some(purpose => agreed[purpose])
      this.setData({
        consents: rows,
        hasConsents: consents.length > 0,
        agreed,
        consentError: '',
        state: isReady ? 'form' : 'ask'
      })
    },

    /** Agree to what the form collects, before it collects anything. */
    async onConsent () {
      if (this.data.consenting) return
      this.setData({ consenting: true, consentError: '' })
      try {
        await this.askWeChat()
        await this.agree(FORM)
      } catch (error) {
        if (error.code === 'privacy_refused') this.setData({ state: 'refused' })
        else this.showConsentError(error)
      }
      this.setData({ consenting: false })
    },

    async askWeChat () {
      try {
        await this.client.phone.callWithTimeout('requirePrivacyAuthorize', { timeout: PATIENCE })
      } catch (error) {
        if (error.code !== 'unsupported') throw error
      }
    },

    async agree (purposes) {
      const given = await this.client.groups.consent({ purposes, version: this.data.privacyVersion })
      this.showConsents(given, false)
      this.triggerEvent('consent', given)
    },

    /** Agree to one purpose, or withdraw it: the server then deletes what it was for. */
    async onPurpose (event) {
      const { purpose } = event.currentTarget.dataset
      const { isGiven } = this.data.consents.find(one => one.purpose === purpose)
      try {
        if (!isGiven && FORM.includes(purpose)) await this.askWeChat()
        if (!isGiven) return await this.agree([purpose])
        if (!await this.isSure(purpose)) return
        const given = await this.client.groups.consent({ withdraw: purpose })
        this.triggerEvent('consent', given)
        await this.refresh()
      } catch (error) {
        this.showConsentError(error)
      }
    },

    isSure (purpose) {
      const { withdraw, withdrawn, cancel } = this.data.t
      const { wx } = this.client.phone
      return new Promise(resolve => wx.showModal({
        title: withdraw,
        content: withdrawn[purpose],
        confirmText: withdraw,
        cancelText: cancel,
        success: ({ confirm }) => resolve(confirm),
        fail: () => resolve(false)
      }))
    },

    showConsentError (error) {
      this.setData({ consentError: messageOf(error, this.data.t.error.body) })
    },

    onContract () {
      this.client.phone.callWithTimeout('openPrivacyContract').catch(() => {})
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
        this.setData({ upload: 'failed', uploadError: messageOf(error, this.data.t.error.body) })
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
        this.setData({ saving: false, saveError: message || messageOf(error, this.data.t.error.body) })
      }
    }
  }
})
