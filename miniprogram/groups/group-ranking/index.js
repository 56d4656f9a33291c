'use strict'

const { connect, disconnect, isUnreachable, messageOf, textsOf } = require('../component')
const texts = require('./texts')

const PODIUM_PLACES = 3

// At most this many rows are on the page, some screens of them, and they move on in steps: WeChat
// advises at most 60 children a node and 1,000 nodes a page.
const ROWS = 48
const STEP = 8
const SCROLL_DELAY = 60

// Names that many members have; the server gives them to those who chose none.
const DEFAULT_NAMES = ['微信用户', 'WeChat user']

const REPORT_REASONS = ['advert', 'abuse', 'impersonation', 'illegal', 'other']

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
    limit: { type: Number, value: 50 },
    /** Whether a tap on another member offers to report them. */
    report: { type: Boolean, value: true },
    /** Replaces texts, at any depth of those in texts.js; strings only. */
    texts: Object,
    /** The name that createGroups gave to its client. */
    client: { type: String, value: 'groupsite' }
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
    /** The rows that are on the page, and the heights in px of those above and below them. */
    rows: [],
    above: 0,
    below: 0,
    /** My row, if it is out of sight; it is pinned at the `top` or the `bottom`. */
    mine: null,
    pinned: '',
    note: '',
    next: null,
    more: 'idle',
    pulling: false,
    broken: {},
    /** The member whose sheet is open: idle, sending, sent or failed. */
    sheet: null
  },

  observers: {
    'openGid, board, period, limit, client' () {
      this.chosenPeriod = ''
      if (this.isAttached) this.refresh()
    },
    texts () {
      if (!this.isAttached) return
      this.setData({ t: textsOf(texts, this) })
      this.refresh()
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
      disconnect(this)
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
    },
    resize () {
      this.measure()
    }
  },

  methods: {
    /** Enter, and load the ranking from its top; resolves when it is shown. */
    async refresh () {
      const turn = this.turn = (this.turn || 0) + 1
      const isCurrent = () => this.isAttached && this.turn === turn
      if (!this.entries) this.clear('loading')
      try {
        const { groups } = connect(this)
        this.setData({ t: textsOf(texts, this) })
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
      const tabs = this.tabs(windows, ranking)
      this.start = 0
      this.inSight = null
      this.show(ranking, new Map())
      this.isOffline = false
      this.setData({ tabs, message: null, state: ranking.total ? 'ready' : 'empty' })
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

    /** Show a ranking after the entries of its earlier pages. */
    show (ranking, entries) {
      for (const entry of ranking.entries) {
        // A member whose score fell is listed again, further down.
        entries.delete(entry.member.id)
        entries.set(entry.member.id, entry)
      }
      const { me } = ranking
      const listed = Array.from(entries.values())
      const isAmbiguous = ambiguity(me && !entries.has(me.member.id) ? listed.concat(me) : listed)
      const rows = listed.map(entry => this.row(entry, ranking.board.unit, isAmbiguous))
      const podium = rows.slice(0, PODIUM_PLACES).filter(({ rank }) => rank !== null)
      const head = this.head(ranking)
      this.entries = entries
      this.rows = rows.slice(podium.length)
      this.me = me && {
        entry: me,
        row: this.row(me, ranking.board.unit, isAmbiguous),
        index: listed.indexOf(entries.get(me.member.id))
      }
      this.window = ranking.period.window
      this.setData({
        head,
        window: this.window,
        still: !ranking.period.previous,
        podium,
        note: this.note(ranking),
        next: ranking.next,
        more: 'idle'
      })
      this.arrange()
      this.measure()
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

    row (entry, unit, isAmbiguous) {
      const { rank, movement, member, scoreText, isMe } = entry
      const { t } = this.data
      const move = this.move(movement)
      const place = rank === null ? t.noRank : t.rank.replace('{}', rank)
      const score = scoreText === null ? '' : `${scoreText} ${unit}`
      const suffix = isAmbiguous(member) ? String(member.id).slice(-4) : ''
      const name = [member.nickname, suffix].filter(Boolean).join(' ')
      return {
        id: member.id,
        rank,
        medal: rank !== null && rank <= PODIUM_PLACES ? rank : 0,
        move,
        name: member.nickname,
        suffix,
        initial: Array.from(member.nickname)[0] || '',
        avatar: member.avatar,
        score: scoreText,
        isMe,
        summary: [place, score].filter(Boolean).join(' · '),
        label: [place, name, score, move && move.label].filter(Boolean).join(', ')
      }
    },

    move (movement) {
      const { t } = this.data
      if (movement === null) return null
      if (movement === 'new') return { kind: 'up', text: t.new, label: t.newcomer }
      if (movement === 0) return { kind: 'same', text: '–', label: t.same }
      const places = Math.abs(movement)
      return movement > 0
        ? { kind: 'up', text: `▲${places}`, label: t.up.replace('{}', places) }
        : { kind: 'down', text: `▼${places}`, label: t.down.replace('{}', places) }
    },

    // Scrolling: the rows in sight and some screens around them are on the page.

    onScroll () {
      if (this.scrolled) return
      this.scrolled = setTimeout(() => {
        this.scrolled = null
        this.measure()
      }, SCROLL_DELAY)
    },

    /** Find out which rows are in sight, and put them on the page. */
    measure () {
      if (!this.isAttached || !this.entries) return
      this.createSelectorQuery()
        .select('.list').boundingClientRect()
        .select('.above').boundingClientRect()
        .select('.row').boundingClientRect()
        .exec(([list, above, row]) => {
          if (!this.isAttached || !this.entries || !list || !above) return
          // Measured, because WeChat rounds rpx down to whole pixels, and Skyline need not.
          if (row && row.height) this.rowHeight = row.height
          const rowsIn = pixels => this.rowHeight ? pixels / this.rowHeight : 0
          const first = rowsIn(list.top - above.top)
          const count = rowsIn(list.height)
          this.start = Math.max(0, Math.round((first + (count - ROWS) / 2) / STEP) * STEP)
          this.inSight = { first, count }
          this.arrange()
        })
    },

    /** Put the rows from the one at `start` on the page, and pin mine if it is not `inSight`. */
    arrange () {
      const { data } = this
      const from = Math.min(this.start, Math.max(0, this.rows.length - 1))
      const to = Math.min(from + ROWS, this.rows.length)
      const height = this.rowHeight || 0
      const above = from * height
      const below = (this.rows.length - to) * height
      const pinned = this.side()
      const isSame = this.arranged === this.rows && data.above === above && data.below === below
      if (isSame && data.pinned === pinned) return
      const mine = pinned ? this.me.row : null
      this.setData(isSame ? { mine, pinned } : { rows: this.rows.slice(from, to), above, below, mine, pinned })
      this.arranged = this.rows
    },

    /** Return where to pin my row, or nothing while it is in sight. */
    side () {
      if (!this.me) return ''
      if (this.me.index < 0) return 'bottom'
      if (!this.inSight) return ''
      const { first, count } = this.inSight
      const middle = this.me.index - this.data.podium.length + 0.5
      // The podium is right above the rows.
      if (middle < 0) return first > 0 ? 'top' : ''
      if (middle < first) return 'top'
      return middle > first + count ? 'bottom' : ''
    },

    onLower () {
      if (this.data.next && this.data.more === 'idle') this.onMore()
    },

    async onMore () {
      if (this.data.more === 'loading') return
      const { turn } = this
      const isCurrent = () => this.isAttached && this.turn === turn
      this.setData({ more: 'loading' })
      try {
        const ranking = await this.client.groups.ranking(this.openGId, this.query(this.data.next))
        if (!isCurrent()) return
        this.show(ranking, new Map(this.entries))
        this.triggerEvent('ranking', ranking)
      } catch (_) {
        if (isCurrent()) this.setData({ more: 'failed' })
      }
    },

    async onPull () {
      this.setData({ pulling: true })
      await this.refresh()
      if (this.isAttached) this.setData({ pulling: false })
    },

    // Without a ranking

    // After a temporary error, the ranking that is already shown stays.
    onError (error) {
      const isTemporary = isUnreachable(error) || error.status >= 429
      if (!this.entries || !isTemporary) return this.showReason(error.code, error)
      this.isOffline = isUnreachable(error)
      this.chosenPeriod = this.window
      this.setData({ note: this.data.t.stale, window: this.window, more: 'idle' })
    },

    showReason (reason, error) {
      const { t } = this.data
      const state = STATES[reason] || 'error'
      const { title, body } = t[state]
      const detail = t.reasons[reason] || (state === 'error' ? messageOf(error, body) : body)
      this.isOffline = state === 'offline'
      this.clear(state, { title, body: detail, retry: !FINAL_REASONS.includes(reason) })
      this.triggerEvent('state', { state, reason: reason || 'failed' })
    },

    clear (state, message = null) {
      this.entries = null
      this.setData({ state, message, head: null, tabs: [], podium: [], rows: [], mine: null, pinned: '', next: null, sheet: null })
    },

    onOnline () {
      if (this.isOffline) this.refresh()
    },

    onPeriod (event) {
      this.chosenPeriod = event.currentTarget.dataset.window
      this.setData({ window: this.chosenPeriod })
      return this.refresh()
    },

    onBroken (event) {
      const { id } = event.currentTarget.dataset
      this.setData({ broken: Object.assign({}, this.data.broken, { [id]: true }) })
    },

    // One member: their sheet, and from there a report to the operators

    onMember (event) {
      const { id } = event.currentTarget.dataset
      const entry = this.entries.get(id) || this.me.entry
      this.triggerEvent('member', entry)
      if (!this.data.report || entry.isMe) return
      const { name, suffix, summary } = this.data.podium.concat(this.rows).find(row => row.id === id)
      this.setData({ sheet: { id, name, suffix, summary, state: 'idle', message: '' } })
    },

    onClose () {
      this.setData({ sheet: null })
    },

    async onReport () {
      const { t, sheet: { id } } = this.data
      const setSheet = change => {
        const { sheet } = this.data
        if (sheet && sheet.id === id) this.setData({ sheet: Object.assign({}, sheet, change) })
      }
      try {
        const reason = await this.chooseReason()
        if (!reason) return
        setSheet({ state: 'sending', message: '' })
        await this.client.groups.report(this.openGId, { member: id, reason })
        setSheet({ state: 'sent', message: t.report.sent })
      } catch (error) {
        setSheet({ state: 'failed', message: messageOf(error, t.report.failed) })
      }
    },

    // Without a timeout: people may think about it.
    chooseReason () {
      const { wx } = this.client.phone
      const itemList = REPORT_REASONS.map(reason => this.data.t.report.reasons[reason])
      return new Promise(resolve => wx.showActionSheet({
        itemList,
        success: ({ tapIndex }) => resolve(REPORT_REASONS[tapIndex]),
        fail: () => resolve(null)
      }))
    },

    nothing () {}
  }
})

/** Return whether a member's name is another member's too, or a default one. */
function ambiguity (entries) {
  const counts = new Map()
  for (const { member: { nickname } } of entries) counts.set(nickname, (counts.get(nickname) || 0) + 1)
  return ({ nickname }) => DEFAULT_NAMES.includes(nickname) || counts.get(nickname) > 1
}
