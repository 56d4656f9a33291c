'use strict'

const { findClient } = require('../index')
const texts = require('./texts')

const PODIUM_PLACES = 3

// The state shown for an entry's reason or an error's code; for all others it is `error`.
const STATES = {
  single_chat: 'single_chat',
  left_group: 'left_group',
  not_from_group: 'outside',
  no_ticket: 'outside',
  timeline: 'outside',
  not_found: 'outside',
  offline: 'offline',
  timeout: 'offline',
  interrupted: 'offline'
}

// Trying again would give the same result.
const FINAL_REASONS = ['single_chat', 'left_group', 'not_from_group', 'timeline', 'unsupported', 'blocked']

Component({
  options: { multipleSlots: true },
  externalClasses: ['custom-class'],

  properties: {
    /** If empty, the group that the mini-program was opened from. */
    openGid: String,
    board: String,
    period: String,
    limit: { type: Number, value: 50 }
  },

  data: {
    t: texts.zh,
    /** loading, ready, empty, single_chat, left_group, outside, offline or error */
    state: 'loading',
    message: null,
    tabs: [],
    window: '',
    /** Whether there is no previous period, and so no movement. */
    still: false,
    head: null,
    podium: [],
    rows: [],
    /** My row, if it is not among `podium` and `rows`. */
    mine: null,
    note: '',
    next: null,
    more: 'idle',
    broken: {}
  },

  observers: {
    'openGid, board, period, limit' () {
      this.chosenPeriod = ''
      if (this.isAttached) this.refresh()
    }
  },

  lifetimes: {
    attached () {
      this.isAttached = true
      this.refresh()
    },
    detached () {
      this.isAttached = false
      this.turn += 1
    }
  },

  // A user who comes back may come from another group.
  pageLifetimes: {
    hide () {
      this.away = true
    },
    show () {
      if (this.away) this.refresh()
      this.away = false
    }
  },

  methods: {
    /** Enter, and load the ranking from its top; resolves when it is shown. */
    async refresh () {
      const turn = this.turn = (this.turn || 0) + 1
      const isCurrent = () => this.isAttached && this.turn === turn
      if (!this.entries) this.clear('loading')
      try {
        const { groups, phone } = findClient()
        this.setData({ t: texts[phone.language] })
        const openGId = this.data.openGid || await this.enter(groups, isCurrent)
        if (openGId) await this.load(groups, openGId, isCurrent)
      } catch (error) {
        if (isCurrent()) this.onError(error)
      }
    },

    async enter (groups, isCurrent) {
      const entry = await groups.enter()
      if (!isCurrent()) return ''
      this.triggerEvent('entry', entry)
      if (entry.group) return entry.group.openGId
      this.showReason(entry.reason, entry.error)
      return ''
    },

    async load (groups, openGId, isCurrent) {
      if (openGId !== this.openGId) this.clear('loading')
      this.openGId = openGId
      const [ranking, windows] = await Promise.all([
        groups.ranking(openGId, this.query()),
        this.windows(groups)
      ])
      if (!isCurrent()) return
      this.entries = new Map()
      this.show(ranking)
      this.setData({ tabs: this.tabs(windows, ranking), state: ranking.total ? 'ready' : 'empty' })
      this.triggerEvent('ranking', ranking)
      this.triggerEvent('state', { state: this.data.state, reason: null })
    },

    query (cursor) {
      const { board, limit, period } = this.data
      return {
        board: board || undefined,
        period: this.chosenPeriod || period || undefined,
        limit,
        cursor
      }
    },

    // The ranking is shown without tabs if this fails.
    async windows (groups) {
      try {
        this.boards = this.boards || (await groups.boards()).boards
      } catch (_) {}
      const windows = {}
      for (const board of this.boards || []) windows[board.key] = board.windows
      return windows
    },

    tabs (windows, { board, period }) {
      const shown = windows[board.key] || [period.window]
      return shown.map(window => ({ window, title: this.data.t.windows[window] }))
    },

    show (ranking) {
      for (const entry of ranking.entries) {
        // A member whose score fell is listed again, further down.
        this.entries.delete(entry.member.id)
        this.entries.set(entry.member.id, entry)
      }
      const { unit } = ranking.board
      const entries = Array.from(this.entries.values(), entry => this.row(entry, unit))
      const podium = entries.slice(0, PODIUM_PLACES).filter(({ rank }) => rank !== null)
      const { me } = ranking
      this.me = me
      this.window = ranking.period.window
      this.setData({
        head: this.head(ranking),
        window: ranking.period.window,
        still: !ranking.period.previous,
        podium,
        rows: entries.slice(podium.length),
        mine: me && !this.entries.has(me.member.id) ? this.row(me, unit) : null,
        note: this.note(ranking),
        next: ranking.next,
        more: 'idle'
      })
    },

    head ({ board, period, group, total, serverTime }) {
      return {
        board: board.title,
        period: period.title,
        openGId: group.openGId,
        title: group.title,
        people: this.data.t.people.replace('{}', total).replace('{time}', serverTime.slice(11, 16)),
        unit: board.unit
      }
    },

    note ({ absent, total, me }) {
      if (absent === 'hidden') return this.data.t.hidden
      return total === 1 && me ? this.data.t.alone : ''
    },

    row ({ rank, movement, member, scoreText, isMe }, unit) {
      const { t } = this.data
      const move = this.move(movement)
      const place = rank === null ? t.noRank : t.rank.replace('{}', rank)
      const score = scoreText === null ? '' : `${scoreText} ${unit}`
      return {
        id: member.id,
        rank,
        medal: rank !== null && rank <= PODIUM_PLACES ? rank : 0,
        move,
        name: member.nickname,
        initial: Array.from(member.nickname)[0] || '',
        avatar: member.avatar,
        score: scoreText,
        isMe,
        label: [place, member.nickname, score, move && move.label].filter(Boolean).join(', ')
      }
    },

    move (movement) {
      const { t } = this.data
      if (movement === null) return null
      if (movement === 'new') return { kind: 'up', shape: '', text: t.new, label: t.newcomer }
      if (movement === 0) return { kind: 'same', shape: '–', text: '', label: t.same }
      const places = Math.abs(movement)
      return movement > 0
        ? { kind: 'up', shape: '▲', text: places, label: t.up.replace('{}', places) }
        : { kind: 'down', shape: '▼', text: places, label: t.down.replace('{}', places) }
    },

    // After a temporary error, the ranking that is already shown stays.
    onError (error) {
      const isTemporary = STATES[error.code] === 'offline' || error.status >= 429
      if (!this.entries || !isTemporary) return this.showReason(error.code, error)
      this.chosenPeriod = this.window
      this.setData({ note: this.data.t.stale, window: this.window, more: 'idle' })
    },

    showReason (reason, error) {
      const { t } = this.data
      const state = STATES[reason] || 'error'
      const detail = t.reasons[reason] || (state === 'error' && error && error.message)
      const { title, body } = t[state]
      const message = { title, body: detail || body, retry: !FINAL_REASONS.includes(reason) }
      this.clear(state, message)
      this.triggerEvent('state', { state, reason })
    },

    clear (state, message = null) {
      this.entries = null
      this.setData({ state, message, head: null, tabs: [], podium: [], rows: [], mine: null, next: null })
    },

    onPeriod (event) {
      this.chosenPeriod = event.currentTarget.dataset.window
      this.setData({ window: this.chosenPeriod })
      return this.refresh()
    },

    async onMore () {
      if (this.data.more === 'loading') return
      const { turn } = this
      const isCurrent = () => this.isAttached && this.turn === turn
      this.setData({ more: 'loading' })
      try {
        const ranking = await findClient().groups.ranking(this.openGId, this.query(this.data.next))
        if (!isCurrent()) return
        this.show(ranking)
        this.triggerEvent('ranking', ranking)
      } catch (_) {
        if (isCurrent()) this.setData({ more: 'failed' })
      }
    },

    onMember (event) {
      const { id } = event.currentTarget.dataset
      const entry = this.entries.get(id) || this.me
      this.triggerEvent('member', entry)
    },

    onBroken (event) {
      const { id } = event.currentTarget.dataset
      this.setData({ broken: Object.assign({}, this.data.broken, { [id]: true }) })
    }
  }
})
