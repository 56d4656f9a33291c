/** Test the logic of the components; e2e/ tests how they look. */
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { Phone, errorResponse, withFakeTime } from './phone.mjs'

const require = createRequire(import.meta.url)
const definitions = {}
for (const name of ['group-ranking', 'group-profile']) {
  globalThis.Component = definition => { definitions[name] = definition }
  require(`../groups/${name}/index.js`)
}

/** A component without a view. */
class Mounted {
  constructor (name, properties = {}) {
    const { data, methods, properties: defaults = {}, ...definition } = definitions[name]
    const values = Object.entries(defaults).map(([key, type]) => [key, type.value ?? type()])
    Object.assign(this, methods)
    /** What is measured: the list, the top of its rows, and one row. */
    this.boxes = [{ top: 0, height: 700 }, { top: 300 }, { height: 56 }]
    this.definition = definition
    this.events = []
    this.data = { ...structuredClone(data), ...Object.fromEntries(values), ...properties }
    definition.lifetimes.attached.call(this)
  }

  setData (changes) {
    Object.assign(this.data, structuredClone(changes))
  }

  triggerEvent (name, detail) {
    this.events.push([name, detail])
  }

  createSelectorQuery () {
    const query = {
      select: () => query,
      boundingClientRect: () => query,
      exec: callback => callback(this.boxes)
    }
    return query
  }

  /** Scroll until this row is the first in sight; a podium is above the rows. */
  scrollTo (row) {
    this.boxes[1] = { top: -56 * row }
    this.measure()
  }

  detach () {
    this.definition.lifetimes.detached.call(this)
  }

  set (properties) {
    this.setData(properties)
    for (const [observed, observer] of Object.entries(this.definition.observers)) {
      if (observed.split(', ').some(name => name in properties)) observer.call(this)
    }
  }

  last (name) {
    return this.events.filter(([event]) => event === name).at(-1)?.[1]
  }

  get names () {
    return [...this.data.podium, ...this.rows].map(({ name }) => name)
  }
}

const tap = dataset => ({ currentTarget: { dataset } })

/** Wait in fake time until the component has loaded, or failed to. */
async function loaded (component) {
  for (let waited = 0; component.data.state === 'loading' && waited < 100; waited += 1) {
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

async function settled () {
  for (let turn = 0; turn < 60; turn += 1) await nextTurn()
}

function person (name, rank, more = {}) {
  const member = { id: name, nickname: name, avatar: `https://site.example/${name}.webp` }
  return { rank, movement: 0, member, score: 9, scoreText: '9', achievedAt: null, isMe: false, ...more }
}

function ranking (entries, more = {}) {
  return [200, {
    group: { openGId: 'family', title: '一家人', memberCount: 5 },
    board: { key: 'active-days', title: '活跃天数', order: 'desc', unit: '天', decimals: 0, scope: 'group' },
    period: { key: '2026-W47', window: 'week', title: '本周', previous: '2026-W46', next: null },
    serverTime: '2026-11-25T08:05:00.000+08:00',
    total: entries.length,
    percentile: null,
    me: entries.find(({ isMe }) => isMe) || null,
    absent: null,
    next: null,
    entries,
    ...more
  }]
}

const THREE = [person('alice', 1), person('bob', 2, { isMe: true }), person('charlie', 3)]
const BOARDS = [200, { boards: [{ key: 'active-days', windows: ['week', 'month', 'all'] }] }]
const OFFLINE = { fail: { errMsg: 'request:fail' } }
const ROUTE = 'GET /groups/family/ranking'

async function mountRanking (responses, { entry, ...properties } = {}) {
  const phone = new Phone(entry).script(ROUTE, ...responses).script('GET /boards', BOARDS)
  phone.start()
  const component = new Mounted('group-ranking', properties)
  await settled()
  return { phone, component }
}

// The ranking

test('the group of the entry is ranked', async () => {
  const { component } = await mountRanking([ranking(THREE)])
  assert.equal(component.data.state, 'ready')
  assert.deepEqual(component.names, ['alice', 'bob', 'charlie'])
  assert.equal(component.data.head.people, '3 人参与 · 08:05 更新')
  assert.equal(component.last('entry').group.openGId, 'family')
  assert.equal(component.last('ranking').total, 3)
  assert.deepEqual(component.last('state'), { state: 'ready', reason: null })
})

test('the group in open-gid is ranked without entering', async () => {
  const { phone, component } = await mountRanking([ranking(THREE)], { openGid: 'family', board: 'points', period: 'month', limit: 20 })
  assert.equal(component.data.state, 'ready')
  assert.equal(phone.count('POST /groups/bind'), 0)
  const { url } = phone.sent.find(({ route }) => route === ROUTE)
  assert.match(url, /\?board=points&period=month&limit=20$/)
})

test('tied members have the same medal; members without a rank are not on the podium', async () => {
  const tied = [person('a', 1), person('b', 1), person('c', 3), person('d', null, { score: null, scoreText: null })]
  const { component } = await mountRanking([ranking(tied)])
  assert.deepEqual(component.data.podium.map(({ medal }) => medal), [1, 1, 3])
  const one = [person('a', 1), person('d', null, { score: null, scoreText: null })]
  const { component: small } = await mountRanking([ranking(one)])
  assert.deepEqual([small.data.podium.length, small.data.rows.length], [1, 1])
})

test('movement is shown as a shape and in words', async () => {
  const moves = [2, -1, 'new', 0, null].map((movement, index) => person(`p${index}`, index + 1, { movement }))
  const { component } = await mountRanking([ranking(moves)])
  const [up, down, newcomer, same, none] = [...component.data.podium, ...component.data.rows]
  assert.deepEqual([up, down, newcomer, same].map(({ move }) => move.text), ['▲2', '▼1', '新', '–'])
  assert.equal(none.move, null)
  assert.equal(up.label, '第 1 名, p0, 9 天, 上升 2 名')
  assert.match(down.label, /下降 1 名$/)
})

test('my row is pinned until it is among those shown', async () => {
  const me = person('me', 23, { isMe: true })
  const { phone, component } = await mountRanking([ranking(THREE.slice(0, 1), { me, next: 'c1' })])
  assert.equal(component.data.mine.name, 'me')
  phone.script(ROUTE, ranking([me], { me }))
  await component.onMore()
  assert.equal(component.data.mine, null)
  assert.deepEqual(component.names, ['alice', 'me'])
  assert.match(phone.sent.at(-1).url, /cursor=c1/)
})

test('a member who is listed again on a later page is moved there', async () => {
  const { phone, component } = await mountRanking([ranking(THREE, { next: 'c1' })])
  phone.script(ROUTE, ranking([person('bob', 4, { scoreText: '3' }), person('dora', 5)]))
  await component.onMore()
  assert.deepEqual(component.names, ['alice', 'charlie', 'bob', 'dora'])
  assert.equal(component.data.rows[0].id, 'dora')
  assert.equal(component.data.podium[2].score, '3')
})

test('a page that failed can be loaded again, and the rows stay', async () => {
  const { phone, component } = await mountRanking([ranking(THREE, { next: 'c1' })])
  phone.script(ROUTE, errorResponse(500, 'server_error'))
  await component.onMore()
  assert.equal(component.data.more, 'failed')
  assert.equal(component.names.length, 3)
  phone.script(ROUTE, ranking([person('dora', 4)]))
  await component.onMore()
  assert.equal(component.names.length, 4)
})

test('a tab shows its period', async () => {
  const { phone, component } = await mountRanking([ranking(THREE)])
  assert.deepEqual(component.data.tabs.map(({ title }) => title), ['本周', '本月', '总榜'])
  phone.script(ROUTE, ranking(THREE, { period: { key: 'all', window: 'all', title: '总榜', previous: null } }))
  await component.onPeriod(tap({ window: 'all' }))
  assert.match(phone.sent.findLast(({ route }) => route === ROUTE).url, /period=all/)
  assert.equal(component.data.window, 'all')
  assert.equal(component.data.still, true)
})

test('the response for an earlier tab does not overwrite a later one', async () => {
  const { phone, component } = await mountRanking([ranking(THREE)])
  let respond
  phone.script(ROUTE, () => new Promise(resolve => { respond = resolve }), ranking([person('late', 1)]))
  const slow = component.onPeriod(tap({ window: 'month' }))
  await settled()
  await component.onPeriod(tap({ window: 'all' }))
  respond(ranking([person('early', 1)]))
  await slow
  assert.deepEqual(component.names, ['late'])
})

test('a refresh without a network keeps the rows, with a note', async t => {
  const { phone, component } = await mountRanking([ranking(THREE)])
  phone.script(ROUTE, OFFLINE, OFFLINE, OFFLINE)
  await withFakeTime(t, () => component.onPeriod(tap({ window: 'all' })))
  assert.equal(component.names.length, 3)
  assert.match(component.data.note, /刷新失败/)
  assert.equal(component.data.window, 'week')
})

test('coming back from another group shows that group', async () => {
  const { phone, component } = await mountRanking([ranking(THREE)])
  const { hide, show } = component.definition.pageLifetimes
  hide.call(component)
  phone.comeBack({ scene: 1044, shareTicket: 'ticket-2' })
  phone.chat = 'work'
  phone.script('GET /groups/work/ranking', ranking([person('olga', 1)]))
  show.call(component)
  await settled()
  assert.deepEqual(component.names, ['olga'])
})

test('a changed property shows its ranking', async () => {
  const { phone, component } = await mountRanking([ranking(THREE)], { openGid: 'family' })
  phone.script('GET /groups/work/ranking', ranking([person('olga', 1)]))
  component.set({ openGid: 'work' })
  await settled()
  assert.deepEqual(component.names, ['olga'])
})

for (const [scene, state, retry] of [[1007, 'single_chat', false], [1001, 'outside', false], [1154, 'outside', false]]) {
  test(`scene ${scene} shows ${state}`, async () => {
    const { component } = await mountRanking([], { entry: { scene } })
    assert.equal(component.data.state, state)
    assert.ok(component.data.message.title && component.data.message.body)
    assert.equal(component.data.message.retry, retry)
    assert.equal(component.last('state').state, state)
  })
}

test('a member who left the group, in WeChat or here, sees a message', async () => {
  const phone = new Phone().fail('getGroupEnterInfo', { errCode: 65206 })
  phone.start()
  const component = new Mounted('group-ranking')
  await settled()
  assert.deepEqual(component.last('state'), { state: 'left_group', reason: 'left_group' })
  const { component: other } = await mountRanking([errorResponse(404, 'not_found')])
  assert.deepEqual(other.last('state'), { state: 'outside', reason: 'not_found' })
})

test('the state offline can be retried', async () => {
  const { phone, component } = await mountRanking([], {})
  phone.script('POST /groups/bind', OFFLINE)
  phone.comeBack({ scene: 1008 })
  await component.refresh()
  assert.equal(component.data.state, 'offline')
  assert.equal(component.data.message.retry, true)
  phone.script(ROUTE, ranking(THREE))
  await component.refresh()
  assert.equal(component.data.state, 'ready')
})

test('other errors show the message of the server', async () => {
  const { component } = await mountRanking([errorResponse(403, 'user_blocked')])
  assert.equal(component.data.state, 'error')
  const { component: invalid } = await mountRanking([errorResponse(400, 'invalid')])
  assert.equal(invalid.data.message.body, 'invalid explained')
})

test('without the list of boards the ranking is shown with one tab', async () => {
  const phone = new Phone().script(ROUTE, ranking(THREE)).script('GET /boards', errorResponse(500, 'server_error'))
  phone.start()
  const component = new Mounted('group-ranking')
  await settled()
  assert.equal(component.data.state, 'ready')
  assert.equal(component.data.tabs.length, 1)
})

test('an empty ranking, a hidden member and a lonely member each have a message', async () => {
  assert.equal((await mountRanking([ranking([])])).component.data.state, 'empty')
  const hidden = await mountRanking([ranking(THREE, { absent: 'hidden' })])
  assert.match(hidden.component.data.note, /隐藏/)
  const alone = await mountRanking([ranking([person('me', 1, { isMe: true })])])
  assert.match(alone.component.data.note, /还没有其他人/)
})

test('a tap on a row triggers an event with the member', async () => {
  const { component } = await mountRanking([ranking(THREE)])
  component.onMember(tap({ id: 'charlie' }))
  assert.equal(component.last('member').member.nickname, 'charlie')
})

test('a picture that fails to load is replaced by the initial', async () => {
  const { component } = await mountRanking([ranking(THREE)])
  component.onBroken(tap({ id: 'bob' }))
  assert.deepEqual(component.data.broken, { bob: true })
  assert.equal(component.data.podium[1].initial, 'b')
})

for (const [language, title] of [['en', 'Open it from a group'], ['zh_TW', '從微信群組裡開啟'], ['zh_HK', '從微信群組裡開啟'], ['zh_CN', '从微信群里打开']]) {
  test(`the ranking speaks the language of a phone in ${language}`, async () => {
    const phone = new Phone({ scene: 1001 })
    phone.wx.getAppBaseInfo = () => ({ SDKVersion: '3.0.0', language })
    phone.start()
    const component = new Mounted('group-ranking')
    await settled()
    assert.equal(component.data.message.title, title)
  })
}

test('a page replaces texts, at any depth, and nothing else', async () => {
  const texts = { more: '再看一些', empty: { title: '虚位以待' }, windows: '不是一组', people: 7 }
  const { phone, component } = await mountRanking([ranking(THREE)], { texts })
  const { t } = component.data
  assert.deepEqual([t.more, t.empty.title, t.empty.body], ['再看一些', '虚位以待', '第一名还空着'])
  assert.equal(t.windows.week, '本周')
  assert.equal(component.data.head.people, '3 人参与 · 08:05 更新')
  phone.script(ROUTE, ranking(THREE))
  component.set({ texts: { people: '{} 位' } })
  await settled()
  assert.equal(component.data.head.people, '3 位')
})

test('all languages have the same texts', () => {
  const shape = value => typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shape(inner)])) : typeof value
  for (const name of ['group-ranking', 'group-profile']) {
    const { zh, ...others } = require(`../groups/${name}/texts.js`)
    assert.deepEqual(Object.keys(others), ['zh-Hant', 'en'])
    for (const texts of Object.values(others)) assert.deepEqual(shape(texts), shape(zh))
  }
})

// Many rows

const CROWD = Array.from({ length: 203 }, (_, index) => person(`p${index}`, index + 1, { isMe: index === 102 }))

test('at most 48 rows are on the page, in order, with room for those above and below', async () => {
  const { component } = await mountRanking([ranking(CROWD)])
  const seen = new Set()
  for (let first = 0; first <= 188; first += 4) {
    component.scrollTo(first)
    const { above, rows, below } = component.data
    assert.ok(rows.length <= 48)
    assert.equal(above + 56 * rows.length + below, 56 * 200)
    assert.equal(rows[0].name, `p${above / 56 + 3}`)
    const onScreen = rows.slice(first - above / 56, first - above / 56 + 12)
    assert.equal(onScreen.length, 12, `rows are missing at ${first}`)
    onScreen.forEach(({ name }) => seen.add(name))
  }
  assert.equal(seen.size, 200)
})

test('my row is pinned at the side where it is out of sight', async () => {
  const { component } = await mountRanking([ranking(CROWD)])
  const sideAt = row => {
    component.scrollTo(row)
    return [component.data.pinned, component.data.mine && component.data.mine.name]
  }
  assert.deepEqual(sideAt(0), ['bottom', 'p102'])
  assert.deepEqual(sideAt(95), ['', null])
  assert.deepEqual(sideAt(100), ['top', 'p102'])
})

test('my place on the podium is pinned once the podium is out of sight', async () => {
  const crowd = CROWD.map((entry, index) => ({ ...entry, isMe: index === 1 }))
  const { component } = await mountRanking([ranking(crowd)])
  assert.equal(component.data.pinned, '')
  component.scrollTo(2)
  assert.equal(component.data.pinned, 'top')
})

test('the next page is loaded at the bottom, once, and the rows in sight stay', async () => {
  const { phone, component } = await mountRanking([ranking(CROWD.slice(0, 100), { next: 'c1' })])
  component.scrollTo(90)
  const { above } = component.data
  phone.script(ROUTE, ranking(CROWD.slice(100), { next: null }))
  const before = phone.count(ROUTE)
  component.onLower()
  component.onLower()
  await settled()
  assert.equal(phone.count(ROUTE), before + 1)
  assert.equal(component.data.above, above)
  assert.equal(component.names.length, 203)
  component.onLower()
  assert.equal(phone.count(ROUTE), before + 1)
})

test('a page that failed is not loaded again by scrolling, but by the button', async () => {
  const { phone, component } = await mountRanking([ranking(THREE, { next: 'c1' })])
  phone.script(ROUTE, errorResponse(500, 'server_error'))
  component.onLower()
  await settled()
  const calls = phone.count(ROUTE)
  component.onLower()
  await settled()
  assert.equal(phone.count(ROUTE), calls)
})

test('pulling down refreshes, and ends', async () => {
  const { phone, component } = await mountRanking([ranking(THREE)])
  phone.script(ROUTE, ranking([person('dora', 1)]))
  const pulled = component.onPull()
  assert.equal(component.data.pulling, true)
  await pulled
  assert.equal(component.data.pulling, false)
  assert.deepEqual(component.names, ['dora'])
})

test('a refreshed ranking begins with its first rows, before anything is measured', async () => {
  const { phone, component } = await mountRanking([ranking(CROWD)])
  component.scrollTo(150)
  component.measure = () => {}
  phone.script(ROUTE, ranking(CROWD))
  await component.refresh()
  assert.deepEqual([component.data.above, component.data.rows[0].name], [0, 'p3'])
})

// Names

test('members without a name of their own are distinguished, and so are namesakes', async () => {
  const named = (id, nickname, rank) => person(id, rank, { member: { id, nickname, avatar: '' } })
  const entries = [named('100041', '微信用户', 1), named('100042', '微信用户', 2), named('7', '小明', 3), named('8', '小明', 4), named('9', '小红', 5)]
  const { component } = await mountRanking([ranking(entries)])
  const shown = [...component.data.podium, ...component.data.rows]
  assert.deepEqual(shown.map(({ suffix }) => suffix), ['0041', '0042', '7', '8', ''])
  assert.equal(shown[0].label, '第 1 名, 微信用户 0041, 9 天, 名次不变')
  const { component: alone } = await mountRanking([ranking([named('100041', '微信用户', 1)])])
  assert.equal(alone.data.podium[0].suffix, '0041')
})

// Reports

async function openSheet (chosen, ...responses) {
  const { phone, component } = await mountRanking([ranking(THREE)])
  phone.wx.showActionSheet = ({ itemList, success, fail }) => {
    phone.offered = itemList
    if (chosen === null) fail({ errMsg: 'showActionSheet:fail cancel' })
    else success({ tapIndex: itemList.indexOf(chosen) })
  }
  phone.script('POST /groups/family/reports', ...responses)
  component.onMember(tap({ id: 'charlie' }))
  return { phone, component }
}

test('another member is reported from their sheet, with a reason', async () => {
  const { phone, component } = await openSheet('冒充他人', [204])
  assert.deepEqual([component.data.sheet.name, component.data.sheet.summary], ['charlie', '第 3 名 · 9 天'])
  await component.onReport()
  assert.deepEqual(phone.offered, ['广告', '辱骂', '冒充他人', '违法违规', '其他原因'])
  assert.deepEqual(phone.sent.at(-1).data, { member: 'charlie', reason: 'impersonation' })
  assert.deepEqual([component.data.sheet.state, component.data.sheet.message], ['sent', '已收到举报，管理员会尽快处理'])
  component.onClose()
  assert.equal(component.data.sheet, null)
})

test('a report that failed says why, and can be sent again', async () => {
  const { component } = await openSheet('广告', errorResponse(429, 'throttled'), [204])
  await component.onReport()
  assert.deepEqual([component.data.sheet.state, component.data.sheet.message], ['failed', 'throttled explained'])
  await component.onReport()
  assert.equal(component.data.sheet.state, 'sent')
})

test('without a reason nothing is reported', async () => {
  const { phone, component } = await openSheet(null)
  await component.onReport()
  assert.equal(phone.count('POST /groups/family/reports'), 0)
  assert.equal(component.data.sheet.state, 'idle')
})

test('there is no sheet for me, nor where the page turns reports off', async () => {
  const { component } = await mountRanking([ranking(THREE)])
  component.onMember(tap({ id: 'bob' }))
  assert.equal(component.data.sheet, null)
  const { component: quiet } = await mountRanking([ranking(THREE)], { report: false })
  quiet.onMember(tap({ id: 'charlie' }))
  assert.equal(quiet.data.sheet, null)
  assert.equal(quiet.last('member').member.nickname, 'charlie')
})

// What else can go wrong

const GENERAL = { title: '暂时无法显示', body: '请稍后重试' }

for (const [name, response] of [
  ['an empty object', [200, {}]],
  ['a ranking without its parts', [200, { entries: [{}] }]],
  ['a web page', [200, '<html>login</html>']],
  ['a gateway that is down', [502, '<html>502 Bad Gateway</html>']]
]) {
  test(`${name} instead of a ranking shows the state error`, async t => {
    const { phone, component } = await mountRanking([ranking(THREE)], { openGid: 'family' })
    phone.script('GET /groups/work/ranking', response, response, response)
    await withFakeTime(t, () => {
      component.set({ openGid: 'work' })
      return loaded(component)
    })
    assert.equal(component.data.state, 'error')
    assert.equal(component.data.message.title, GENERAL.title)
    assert.ok(component.data.message.body)
    assert.equal(component.data.message.retry, true)
  })
}

test('a fault in the code says nothing technical', async () => {
  const phone = new Phone()
  const groups = phone.start()
  groups.ranking = () => { throw new TypeError("Cannot read properties of undefined (reading 'x')") }
  const component = new Mounted('group-ranking')
  await settled()
  assert.deepEqual([component.data.message.title, component.data.message.body], [GENERAL.title, GENERAL.body])
})

test('a component without a client shows a message', async () => {
  for (const [name, state] of [['group-ranking', 'error'], ['group-profile', 'error']]) {
    const component = new Mounted(name, { client: 'unknown' })
    await settled()
    assert.equal(component.data.state, state)
    assert.ok(component.data.detail || component.data.message.body)
  }
})

test('a component uses the client of its name', async () => {
  const phone = new Phone().script(ROUTE, ranking([person('olga', 1)])).script('GET /boards', BOARDS)
  phone.start({ name: 'second' })
  new Phone().start()
  const component = new Mounted('group-ranking', { client: 'second' })
  await settled()
  assert.deepEqual(component.names, ['olga'])
})

for (const name of ['group-ranking', 'group-profile']) {
  test(`an offline ${name} refreshes itself when the network is back, unless it is gone`, async t => {
    const phone = new Phone()
    let tellNetwork
    phone.wx.onNetworkStatusChange = listener => { tellNetwork = listener }
    phone.script('POST /login', OFFLINE)
    phone.start()
    let component
    await withFakeTime(t, () => {
      component = new Mounted(name)
      return loaded(component)
    })
    assert.ok(['offline', 'error'].includes(component.data.state), component.data.state)
    phone.script(ROUTE, ranking(THREE)).script('GET /boards', BOARDS)
    phone.script('GET /me', [200, ME]).script('GET /me/consent', [200, { consents: [] }])
    tellNetwork({ isConnected: true })
    await settled()
    assert.ok(['ready', 'ask'].includes(component.data.state), component.data.state)

    component.isOffline = true
    component.detach()
    const sent = phone.sent.length
    tellNetwork({ isConnected: true })
    await settled()
    assert.equal(phone.sent.length, sent)
  })
}

// The profile

const ME = { id: '7', nickname: '小明', nicknameState: 'approved', avatar: 'https://site.example/7.webp', avatarState: 'approved', profileComplete: true }
const chosen = avatarUrl => ({ detail: { avatarUrl } })
const submitted = nickname => ({ detail: { value: { nickname } } })

const agreedTo = (purpose, version = '1') => ({ purpose, version, givenAt: '2026-11-25T08:00:00.000+08:00' })

/** A phone whose server keeps the consents. */
class ConsentingPhone extends Phone {
  consents = [agreedTo('nickname'), agreedTo('avatar')]

  serve (route, options) {
    if (route === 'POST /me/consent') {
      const { purposes, version } = options.data
      this.consents = this.consents.concat(purposes.map(purpose => agreedTo(purpose, version)))
    }
    const [, withdrawn] = route.match(/^DELETE \/me\/consent\/(.+)/) || []
    if (withdrawn) this.consents = this.consents.filter(({ purpose }) => purpose !== withdrawn)
    if (route.includes('/me/consent')) return [200, { consents: this.consents }]
    if (route === 'GET /me' && this.server.tokens.size) return [200, ME]
    return super.serve(route, options)
  }
}

async function mountProfile (prepare = () => {}, properties = {}) {
  const phone = new ConsentingPhone()
  phone.needsConsent = false
  phone.wx.getPrivacySetting = ({ success }) => success({ needAuthorization: phone.needsConsent })
  phone.wx.requirePrivacyAuthorize = ({ success, fail }) => phone.refuses ? fail({ errMsg: 'fail', errno: 104 }) : success({})
  prepare(phone)
  phone.start({ diagnostics: 1 })
  const component = new Mounted('group-profile', properties)
  await settled()
  return { phone, component }
}

test('the profile shows the nickname and its review state', async () => {
  const { component } = await mountProfile(phone => phone.script('GET /me', [200, { ...ME, nicknameState: 'pending' }]))
  assert.equal(component.data.state, 'form')
  assert.deepEqual([component.data.nickname, component.data.nicknameState], ['小明', 'pending'])
})

test('a chosen avatar is uploaded at once, with progress', async () => {
  const { phone, component } = await mountProfile()
  phone.script('POST /me/avatar', [200, JSON.stringify({ ...ME, avatar: 'https://site.example/new.webp', avatarState: 'pending' })])
  const uploading = component.onChooseAvatar(chosen('wxfile://tmp/a.jpg'))
  assert.deepEqual([component.data.upload, component.data.avatar], ['running', 'wxfile://tmp/a.jpg'])
  await uploading
  assert.deepEqual([component.data.upload, component.data.percent, component.data.avatarState], ['idle', 100, 'pending'])
  assert.equal(component.data.progress, '上传中 100%')
  assert.equal(component.last('saved').user.avatar, 'https://site.example/new.webp')
})

test('a failed upload shows why, and is retried with the same file', async () => {
  const { phone, component } = await mountProfile()
  phone.script('POST /me/avatar', { fail: { errMsg: 'uploadFile:fail timeout' } }, [200, JSON.stringify(ME)])
  await component.onChooseAvatar(chosen('a.jpg'))
  assert.equal(component.data.upload, 'failed')
  assert.match(component.data.uploadError, /网络/)
  await component.onUpload()
  assert.equal(component.data.upload, 'idle')
  assert.equal(phone.sent.at(-1).filePath, 'a.jpg')
})

test('an avatar chosen during the upload of another one replaces it', async () => {
  const { phone, component } = await mountProfile()
  let respond
  const other = [200, JSON.stringify({ ...ME, avatar: 'https://site.example/second.webp' })]
  phone.script('POST /me/avatar', () => new Promise(resolve => { respond = resolve }), other)
  const first = component.onChooseAvatar(chosen('first.jpg'))
  await component.onChooseAvatar(chosen('second.jpg'))
  respond([200, JSON.stringify(ME)])
  await first
  assert.equal(component.data.avatar, 'https://site.example/second.webp')
})

test('the nickname is read from the submitted form', async () => {
  const { phone, component } = await mountProfile()
  phone.script('PUT /me', [200, { ...ME, nickname: '李雷' }])
  await component.onSubmit(submitted(' 李雷 '))
  assert.deepEqual(phone.sent.at(-1).data, { nickname: '李雷' })
  assert.equal(component.data.saved, true)
  assert.equal(component.last('saved').user.nickname, '李雷')
})

test('an empty nickname is not sent; a refused one shows why', async () => {
  const { phone, component } = await mountProfile()
  await component.onSubmit(submitted('   '))
  assert.equal(component.data.saveError, '请填写昵称')
  assert.equal(phone.count('PUT /me'), 0)
  phone.script('PUT /me', errorResponse(400, 'invalid', { fields: { nickname: ['这个昵称不可用'] } }))
  await component.onSubmit(submitted('违规'))
  assert.deepEqual([component.data.saveError, component.data.saving], ['这个昵称不可用', false])
})

test('consent is asked for, and recorded, before anything is collected', async () => {
  const { phone, component } = await mountProfile(phone => { phone.consents = [] }, { privacyVersion: '2' })
  assert.equal(component.data.state, 'ask')
  await component.onConsent()
  assert.equal(component.data.state, 'form')
  const { data } = phone.sent.find(({ route }) => route === 'POST /me/consent')
  assert.deepEqual(data, { purposes: ['nickname', 'avatar'], version: '2' })
  assert.deepEqual(component.last('consent').consents.map(({ purpose }) => purpose), ['nickname', 'avatar'])
  assert.deepEqual(component.data.consents.map(({ since }) => since), ['2026-11-25 同意，版本 2', '2026-11-25 同意，版本 2', '没有记录'])
})

test('another version of the privacy notice asks again', async () => {
  const { component } = await mountProfile(() => {}, { privacyVersion: '2' })
  assert.equal(component.data.state, 'ask')
})

test('consent is asked for too if WeChat requires it', async () => {
  const { component } = await mountProfile(phone => { phone.needsConsent = true })
  assert.equal(component.data.state, 'ask')
  await component.onConsent()
  assert.equal(component.data.state, 'form')
})

test('refused consent is explained, is not recorded, and can be given later', async () => {
  const { phone, component } = await mountProfile(phone => { phone.refuses = true; phone.consents = [] })
  await component.onConsent()
  assert.equal(component.data.state, 'refused')
  assert.match(component.data.t.refused.body, /排行榜照常可用/)
  assert.equal(phone.count('POST /me/consent'), 0)
  phone.refuses = false
  await component.onConsent()
  assert.equal(component.data.state, 'form')
})

test('consent that could not be recorded opens no form', async () => {
  const { phone, component } = await mountProfile(phone => { phone.consents = [] })
  phone.script('POST /me/consent', errorResponse(503, 'unavailable'))
  await component.onConsent()
  assert.deepEqual([component.data.state, component.data.consentError], ['ask', 'unavailable explained'])
})

test('a purpose is withdrawn after a question, and can be agreed to again', async () => {
  const { phone, component } = await mountProfile()
  phone.wx.showModal = ({ content, success }) => {
    phone.question = content
    success({ confirm: phone.sure })
  }
  await component.onPurpose(tap({ purpose: 'avatar' }))
  assert.equal(phone.count('DELETE /me/consent/avatar'), 0)
  phone.sure = true
  await component.onPurpose(tap({ purpose: 'avatar' }))
  assert.match(phone.question, /头像会立即删除/)
  assert.equal(phone.count('DELETE /me/consent/avatar'), 1)
  assert.deepEqual([component.data.state, component.data.agreed], ['form', { nickname: true, avatar: false, groups: false }])
  await component.onPurpose(tap({ purpose: 'avatar' }))
  assert.equal(component.data.agreed.avatar, true)
})

test('a phone that does not answer about privacy is waited for four seconds at most', async t => {
  const phone = new ConsentingPhone()
  phone.wx.getPrivacySetting = () => {}
  phone.start()
  let component
  const { elapsed } = await withFakeTime(t, () => {
    component = new Mounted('group-profile')
    return loaded(component)
  })
  assert.equal(component.data.state, 'form')
  assert.ok(elapsed < 5000, `${elapsed} ms`)
})

for (const [name, response] of [['an empty object', [200, {}]], ['a web page', [200, '<html>']], ['nothing', [204]]]) {
  test(`${name} instead of my consents or of me shows the state error`, async () => {
    for (const route of ['GET /me', 'GET /me/consent']) {
      const { component } = await mountProfile(phone => phone.script(route, response))
      assert.equal(component.data.state, 'error')
      assert.ok(component.data.detail)
      assert.doesNotMatch(component.data.detail, /undefined|null/)
    }
  })
}

test('a phone without privacy calls shows the form at once', async () => {
  const { phone, component } = await mountProfile(phone => {
    delete phone.wx.getPrivacySetting
    delete phone.wx.requirePrivacyAuthorize
  })
  assert.equal(component.data.state, 'form')
  assert.equal(phone.count('POST /diagnostics'), 0)
})

test('a profile that failed to load shows why, and can be loaded again', async () => {
  const { phone, component } = await mountProfile(phone => phone.script('GET /me', errorResponse(500, 'server_error')))
  assert.deepEqual([component.data.state, component.data.detail], ['error', 'server_error explained'])
  phone.script('GET /me', [200, ME])
  await component.refresh()
  assert.equal(component.data.state, 'form')
})
