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

  set (properties) {
    this.setData(properties)
    Object.values(this.definition.observers).forEach(observer => observer.call(this))
  }

  last (name) {
    return this.events.filter(([event]) => event === name).at(-1)?.[1]
  }

  get names () {
    return [...this.data.podium, ...this.data.rows].map(({ name }) => name)
  }
}

const tap = dataset => ({ currentTarget: { dataset } })

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
  assert.deepEqual([up, down, newcomer, same].map(({ move }) => `${move.shape}${move.text}`), ['▲2', '▼1', '新', '–'])
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

test('the ranking is in English on an English phone', async () => {
  const phone = new Phone({ scene: 1001 })
  phone.wx.getAppBaseInfo = () => ({ SDKVersion: '3.0.0', language: 'en' })
  phone.start()
  const component = new Mounted('group-ranking')
  await settled()
  assert.equal(component.data.message.title, 'Open it from a group')
})

test('both languages have the same texts', () => {
  const shape = value => typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shape(inner)])) : typeof value
  for (const name of ['group-ranking', 'group-profile']) {
    const { zh, en } = require(`../groups/${name}/texts.js`)
    assert.deepEqual(shape(zh), shape(en))
  }
})

// The profile

const ME = { id: '7', nickname: '小明', nicknameState: 'approved', avatar: 'https://site.example/7.webp', avatarState: 'approved', profileComplete: true }
const chosen = avatarUrl => ({ detail: { avatarUrl } })
const submitted = nickname => ({ detail: { value: { nickname } } })

async function mountProfile (prepare = () => {}) {
  const phone = new Phone().script('GET /me', [200, ME])
  phone.needsConsent = false
  phone.wx.getPrivacySetting = ({ success }) => success({ needAuthorization: phone.needsConsent })
  phone.wx.requirePrivacyAuthorize = ({ success, fail }) => phone.refuses ? fail({ errMsg: 'fail', errno: 104 }) : success({})
  prepare(phone)
  phone.start()
  const component = new Mounted('group-profile')
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

test('consent is asked for first if WeChat requires it', async () => {
  const { component } = await mountProfile(phone => { phone.needsConsent = true })
  assert.equal(component.data.state, 'ask')
  await component.onConsent()
  assert.equal(component.data.state, 'form')
})

test('refused consent is explained, and can be given later', async () => {
  const { phone, component } = await mountProfile(phone => { phone.needsConsent = phone.refuses = true })
  await component.onConsent()
  assert.equal(component.data.state, 'refused')
  assert.match(component.data.t.refused.body, /排行榜照常可用/)
  phone.refuses = false
  await component.onConsent()
  assert.equal(component.data.state, 'form')
})

test('a phone without privacy calls shows the form at once', async () => {
  const { component } = await mountProfile(phone => {
    delete phone.wx.getPrivacySetting
    delete phone.wx.requirePrivacyAuthorize
  })
  assert.equal(component.data.state, 'form')
})

test('a profile that failed to load shows why, and can be loaded again', async () => {
  const { phone, component } = await mountProfile(phone => phone.script('GET /me', errorResponse(500, 'server_error')))
  assert.deepEqual([component.data.state, component.data.detail], ['failed', 'server_error explained'])
  phone.script('GET /me', [200, ME])
  await component.refresh()
  assert.equal(component.data.state, 'form')
})
