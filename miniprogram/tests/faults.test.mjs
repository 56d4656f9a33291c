/** Test what the kit does on phones, platforms and networks that misbehave: its promises hold on all. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { kit, Phone, errorResponse, withFakeTime } from './phone.mjs'

const { GroupsError, createGroups } = kit
const BASE = { baseUrl: 'https://site.example', diagnostics: 0 }
const never = () => {}

/** Every call of the kit but `enter`, `share` and `onOnline`. */
const CALLS = {
  groups: groups => groups.groups(),
  group: groups => groups.group('g'),
  me: groups => groups.me(),
  boards: groups => groups.boards(),
  ranking: groups => groups.ranking('g'),
  around: groups => groups.around('g'),
  submitScore: groups => groups.submitScore({ board: 'points', value: 1 }),
  report: groups => groups.report('g', { member: 'm', reason: 'other' }),
  setNickname: groups => groups.setNickname('小明'),
  setAlias: groups => groups.setAlias('g', '老王'),
  uploadAvatar: groups => groups.uploadAvatar('a.jpg'),
  consent: groups => groups.consent(),
  'consent, given': groups => groups.consent({ purposes: ['groups'], version: '1' }),
  'consent, withdrawn': groups => groups.consent({ withdraw: 'groups' }),
  hide: groups => groups.hide('g'),
  leave: groups => groups.leave('g'),
  link: groups => groups.link('g'),
  logout: groups => groups.logout({ everywhere: true }),
  deleteMe: groups => groups.deleteMe(),
  request: groups => groups.request('/me')
}

/** Return a `wx` with the calls of a phone, where `change` replaces some. */
function wxWith (change) {
  return Object.assign({}, new Phone().wx, change)
}

async function settled (turns = 60) {
  for (let turn = 0; turn < turns; turn += 1) await nextTurn()
}

// Other platforms

const PLATFORMS = [
  ['no wx at all', undefined],
  ['an empty wx', {}],
  ["a web page's wx", { config () {}, ready () {}, miniProgram: {} }],
  ['a wx whose every property throws', new Proxy({}, { get () { throw new Error('no such property') } })]
]

for (const [what, platform] of PLATFORMS) {
  test(`on ${what} createGroups does not throw, enter says unsupported, and every call rejects`, async () => {
    const groups = createGroups({ ...BASE, wx: platform })
    assert.deepEqual(await groups.enter(), { group: null, reason: 'unsupported', query: {} })
    assert.deepEqual(groups.share({ path: '/a' }), { path: '/a' })
    assert.equal(typeof groups.onOnline(never)(), 'undefined')
    for (const [name, call] of Object.entries(CALLS)) {
      await assert.rejects(call(groups), error => error.name === 'GroupsError', name)
    }
  })
}

for (const options of [undefined, null, {}, { baseUrl: {} }, { baseUrl: 5, wx: 'wx' }]) {
  test(`createGroups(${JSON.stringify(options)}) does not throw, and enter does not reject`, async t => {
    t.mock.method(console, 'error', () => {})
    assert.equal((await createGroups(options).enter()).group, null)
  })
}

for (const [what, broken] of [
  ['throws', () => { throw new Error('no options') }],
  ['gives nothing', () => undefined],
  ['gives null', () => null]
]) {
  for (const name of ['getEnterOptionsSync', 'getAccountInfoSync', 'getAppBaseInfo', 'getStorageSync', 'onAppHide', 'updateShareMenu', 'onNetworkStatusChange']) {
    test(`where ${name} ${what}, createGroups and enter work on`, async () => {
      const groups = createGroups({ ...BASE, wx: wxWith({ [name]: broken }) })
      const { group, reason } = await groups.enter({ scene: 1044, shareTicket: 'ticket-1' })
      assert.equal(reason, undefined)
      assert.equal(group.openGId, 'family')
      assert.equal((await groups.enter()).error, undefined)
    })
  }
}

test('enter never rejects, whatever it is given', async () => {
  const throwing = { get scene () { throw new Error('no scene') } }
  for (const options of [0, 'card', [], {}, { query: null }, { query: 'a=1' }, { shareTicket: {} }, throwing]) {
    assert.equal(typeof (await new Phone().start().enter(options)).query, 'object')
  }
})

// Only GroupsErrors

const ANSWERS = [
  ['204', [204, '']],
  ['200 with a page', [200, '<html>welcome</html>']],
  ['200 with a list', [200, []]],
  ['200 with null', [200, null]],
  ['502 with a page', [502, '<html>Bad Gateway</html>']],
  ['a response without a status', { data: {} }]
]

for (const [what, answer] of ANSWERS) {
  test(`${what} at log-in is an error, and no group`, async t => {
    for (const [name, call] of Object.entries(CALLS)) {
      const phone = new Phone().script('POST /login', ...Array(9).fill(answer))
      const { error } = await withFakeTime(t, () => call(phone.start()))
      assert.ok(error instanceof GroupsError, `${name}: ${error}`)
    }
    const phone = new Phone().script('POST /login', ...Array(9).fill(answer))
    assert.equal((await phone.start().enter()).reason, 'unavailable')
  })

  test(`${what} instead of a ranking is an error`, async t => {
    const phone = new Phone().script('GET /groups/g/ranking', ...Array(9).fill(answer))
    const { error } = await withFakeTime(t, () => phone.start().ranking('g'))
    assert.ok(error instanceof GroupsError)
  })
}

for (const response of [undefined, null, 'ok', {}, { statusCode: 'x' }]) {
  test(`a transport that resolves to ${JSON.stringify(response)} is bad_answer`, async () => {
    const groups = new Phone().start({ transport: async () => response })
    for (const call of Object.values(CALLS)) await assert.rejects(call(groups), { name: 'GroupsError', code: 'bad_answer' })
  })
}

test('a wx function that throws, or calls back with nothing, is an error of the call', async () => {
  for (const login of [() => { throw new Error('broken') }, ({ success }) => success(), ({ fail }) => fail()]) {
    const groups = createGroups({ ...BASE, wx: wxWith({ login, request: ({ success }) => success() }) })
    await assert.rejects(groups.me(), GroupsError)
  }
})

test('an argument that cannot be sent is an error of the call, never thrown at once', async () => {
  const groups = new Phone().start()
  for (const call of [
    () => groups.ranking('\ud800'), () => groups.group('\ud800'), () => groups.leave('\ud800'),
    () => groups.request(undefined), () => groups.request('/me', null), () => groups.submitScore(undefined),
    () => groups.consent({ withdraw: '\ud800' }), () => groups.groups({ cursor: '\ud800' })
  ]) {
    const outcome = call()
    assert.ok(outcome instanceof Promise)
    await outcome.then(() => {}, error => assert.ok(error instanceof GroupsError, String(error)))
  }
})

// Every call ends

for (const [what, change] of [
  ['wx.login', { login: never }],
  ['wx.request', { request: never }],
  ['every call', Object.fromEntries(['login', 'request', 'uploadFile', 'getGroupEnterInfo', 'getShareInfo', 'updateShareMenu'].map(name => [name, never]))]
]) {
  test(`where ${what} never answers, everything ends within 30 s`, async t => {
    for (const [name, call] of Object.entries({ ...CALLS, enter: groups => groups.enter({ scene: 1044, shareTicket: 't' }) })) {
      const groups = createGroups({ ...BASE, wx: wxWith(change) })
      const { value, error, elapsed } = await withFakeTime(t, () => call(groups))
      assert.ok(elapsed <= 30000, `${name} took ${elapsed} ms`)
      assert.ok(error instanceof GroupsError || value.reason === 'offline', `${name}: ${error}`)
    }
  })
}

test('a getToken that never answers is a timeout', async t => {
  const groups = new Phone().start({ getToken: () => new Promise(never) })
  const { error, elapsed } = await withFakeTime(t, () => groups.me())
  assert.equal(error.code, 'timeout')
  assert.ok(elapsed <= 30000)
})

test("where WeChat's group calls never answer, enter ends within 16 s", async t => {
  for (const entry of [{ scene: 1044, shareTicket: 't' }, { scene: 1008 }]) {
    const phone = new Phone(entry)
    Object.assign(phone.wx, { getGroupEnterInfo: never, getShareInfo: never })
    const { value, elapsed } = await withFakeTime(t, () => phone.start().enter())
    assert.equal(value.reason, 'offline')
    assert.ok(elapsed <= 16000, `${elapsed} ms`)
  }
})

test('an envelope of the app that never comes ends too', async t => {
  const { value, elapsed } = await withFakeTime(t, () => new Phone().start().enter({ envelope: () => new Promise(never) }))
  assert.equal(value.reason, 'offline')
  assert.ok(elapsed <= 30000)
})

test('a storm of sixty calls without a network ends within 30 s, and then the next call works', async t => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.me()
  const { request } = phone.wx
  phone.wx.request = never
  const late = []
  const { value, elapsed } = await withFakeTime(t, async () => {
    const startedAt = Date.now()
    const submit = (_, index) => groups.submitScore({ board: 'points', value: index }).catch(error => error)
    const errors = await Promise.all(Array.from({ length: 60 }, submit))
    assert.ok(Date.now() - startedAt <= 30000)
    phone.wx.request = options => { late.push(options.url); request(options) }
    await groups.me()
    return errors
  })
  assert.ok(value.every(error => error instanceof GroupsError && error.idempotencyKey))
  assert.ok(elapsed <= 40000, `${elapsed} ms`)
  assert.deepEqual(late.filter(url => url.endsWith('/scores')), [], 'a call that has ended sends nothing more')
})

// Cards

/** A phone where each opening's data names its own chat, as WeChat seals it. */
function phoneWithCards () {
  const phone = new Phone()
  const chats = { 'ticket-1': 'family', 'ticket-2': 'work' }
  const sealed = chat => ({ encryptedData: `sealed-${phone.key} ${chat}`, iv: 'iv' })
  phone.wx.getGroupEnterInfo = ({ success }) => { nextTurn().then(() => success(sealed(chats[phone.entry.shareTicket] || phone.entry.chat))) }
  phone.wx.getShareInfo = ({ shareTicket, success }) => { nextTurn().then(() => success(sealed(chats[shareTicket]))) }
  phone.serveBind = ({ encryptedData }) => {
    const chat = encryptedData.split(' ')[1]
    return [200, { created: false, group: { openGId: chat }, openGId: chat }]
  }
  return phone
}

test('the first of two quickly tapped cards gets its own group, and so does the second', async () => {
  for (const turns of [0, 1, 2, 3, 5, 8, 13, 21]) {
    const phone = phoneWithCards()
    const groups = phone.start()
    phone.entry = { scene: 1044, shareTicket: 'ticket-1' }
    const first = groups.enter()
    await settled(turns)
    phone.entry = { scene: 1044, shareTicket: 'ticket-2' }
    const second = groups.enter()
    assert.equal((await first).group.openGId, 'family', `after ${turns} turns`)
    assert.equal((await second).group.openGId, 'work', `after ${turns} turns`)
  }
})

test('a first card without a ticket never gets the group of the second', async () => {
  for (const turns of [0, 1, 2, 3, 5, 8]) {
    const phone = phoneWithCards()
    const groups = phone.start()
    phone.entry = { scene: 1008, chat: 'family' }
    const first = groups.enter()
    await settled(turns)
    phone.entry = { scene: 1044, shareTicket: 'ticket-2' }
    const { group, reason } = await first
    assert.ok(group ? group.openGId === 'family' : reason === 'no_ticket', `after ${turns} turns: ${JSON.stringify(group)}`)
  }
})

test("the second card's refusal is not the first one's reason", async () => {
  const phone = phoneWithCards()
  phone.wx.getGroupEnterInfo = ({ fail }) => {
    phone.entry = { scene: 1044, shareTicket: 'ticket-2' }
    fail({ errMsg: 'getGroupEnterInfo:fail', errCode: 65206 })
  }
  phone.entry = { scene: 1044, shareTicket: 'ticket-1' }
  assert.equal((await phone.start().enter()).group.openGId, 'family')
})

for (const errMsg of ['getGroupEnterInfo:fail invalid scene', 'getGroupEnterInfo:fail Invalid Scene']) {
  test(`"${errMsg}" is like 40097: the ticket is used, and without one it is no_ticket`, async () => {
    const withTicket = new Phone().fail('getGroupEnterInfo', { errMsg })
    assert.equal((await withTicket.start().enter()).group.openGId, 'family')
    const without = new Phone({ scene: 1008 }).fail('getGroupEnterInfo', { errMsg })
    assert.equal((await without.start().enter()).reason, 'no_ticket')
  })
}

test("the caller's id within the group is asked for where the base library knows it", async () => {
  for (const [SDKVersion, expected] of [['3.7.12', true], ['3.7.8', true], ['3.7.7', undefined], ['2.17.3', undefined]]) {
    const phone = new Phone()
    const { getGroupEnterInfo } = phone.wx
    let asked
    phone.wx.getAppBaseInfo = () => ({ SDKVersion, language: 'zh_CN' })
    phone.wx.getGroupEnterInfo = options => { asked = options.needGroupOpenID; getGroupEnterInfo(options) }
    await phone.start().enter()
    assert.equal(asked, expected, SDKVersion)
  }
})

test("the app's own envelope is fetched after the log-in, anew after another one, and bound in any scene", async () => {
  const phone = new Phone({ scene: 1001 })
  const groups = phone.start()
  let fetched = 0
  const envelope = async () => { fetched += 1; return phone.seal() }
  await groups.me()
  phone.logInElsewhere()
  assert.equal((await groups.enter({ envelope })).group.openGId, 'family')
  assert.equal(fetched, 2)
  assert.equal((await groups.enter()).reason, 'not_from_group', 'the opening itself has no group')
  assert.equal((await groups.enter({ envelope: () => ({ errMsg: 'ok' }) })).reason, 'no_ticket')
  assert.equal((await groups.enter({ envelope: () => { throw new Error('closed') } })).reason, 'failed')
})

// Ending the session

for (const end of ['deleteMe', 'logout']) {
  test(`calls under way at ${end}() make no new account, a later call does`, async () => {
    const phone = new Phone()
    const groups = phone.start()
    await groups.me()
    const held = []
    const { request } = phone.wx
    phone.wx.request = options => options.method === 'GET' ? held.push(options) : request(options)
    const reading = groups.boards().catch(error => error)
    await settled()
    phone.script('DELETE /me', [204, '']).script('POST /logout', [204, ''])
    const ending = groups[end]()
    await settled()
    phone.revokeTokens()
    phone.wx.request = request
    held.forEach(options => request(options))
    await ending
    assert.ok(['logged_out', 'invalid_token'].includes((await reading).code))
    assert.equal(phone.count('login'), 1)
    await groups.me()
    assert.equal(phone.count('login'), 2)
  })

  test(`a log-in under way at ${end}() is waited for, and its account is the one that ends`, async () => {
    const phone = new Phone()
    const order = []
    const { request } = phone.wx
    phone.wx.request = options => { order.push(`${options.method} ${options.url.split('/v1')[1]}`); request(options) }
    phone.script('DELETE /me', [204, '']).script('POST /logout', [204, ''])
    const groups = phone.start()
    const reading = groups.me().catch(error => error)
    await settled(1)
    await groups[end]()
    assert.equal((await reading).code, 'logged_out')
    assert.deepEqual(order, ['POST /login', end === 'logout' ? 'POST /logout' : 'DELETE /me'])
  })

  test(`a call made while ${end}() is under way waits for it, and then logs in anew`, async () => {
    const phone = new Phone().script('DELETE /me', [204, '']).script('POST /logout', [204, ''])
    const groups = phone.start()
    await groups.me()
    const ending = groups[end]()
    await groups.boards()
    await ending
    assert.deepEqual(phone.sent.slice(2).map(({ route }) => route), [end === 'logout' ? 'POST /logout' : 'DELETE /me', 'POST /login', 'GET /boards'])
  })
}

test('deleting twice at once deletes once', async () => {
  const phone = new Phone().script('DELETE /me', [204, ''])
  const groups = phone.start()
  await Promise.all([groups.deleteMe(), groups.deleteMe()])
  assert.equal(phone.count('DELETE /me'), 1)
})

test('an entry under way at deleteMe() enters nothing', async () => {
  const phone = new Phone().script('DELETE /me', [204, ''])
  const groups = phone.start()
  await groups.me()
  const { getGroupEnterInfo } = phone.wx
  let release
  phone.wx.getGroupEnterInfo = options => { release = () => getGroupEnterInfo(options) }
  const entering = groups.enter()
  await settled()
  await groups.deleteMe()
  phone.revokeTokens()
  release()
  assert.equal((await entering).group, null)
  assert.equal(phone.count('login'), 1)
})

test('logging out without a session asks no one, and a token that is refused is logged out', async () => {
  const phone = new Phone()
  await phone.start().logout()
  assert.deepEqual(phone.sent, [])
  const groups = phone.start()
  await groups.me()
  phone.revokeTokens()
  await groups.logout()
  assert.equal(phone.storage.size, 0)
  assert.equal(phone.count('login'), 1)
})

test('a log-out that fails keeps the session', async () => {
  const phone = new Phone().script('POST /logout', { fail: { errMsg: 'request:fail' } })
  const groups = phone.start()
  await groups.me()
  await assert.rejects(groups.logout(), { code: 'offline' })
  await groups.me()
  assert.equal(phone.count('login'), 1)
})

// The same opening, after a change

for (const [what, change, expected] of [
  ['leave()', groups => groups.leave('family'), 'left_group'],
  ['deleteMe()', groups => groups.deleteMe(), 'left_group'],
  ["withdrawing the consent to groups", groups => groups.consent({ withdraw: 'groups' }), 'left_group'],
  ['leave() of another group', groups => groups.leave('work'), undefined]
]) {
  test(`after ${what} the same opening answers ${expected || 'the group'}, and asks no one`, async () => {
    const phone = new Phone({ scene: 1044, shareTicket: 'ticket-1', query: { from: 'a' } })
    const groups = phone.start()
    await groups.enter()
    await change(groups)
    const sent = phone.sent.length
    const { group, reason, query } = await groups.enter()
    assert.equal(reason, expected)
    assert.equal(Boolean(group), !expected)
    assert.deepEqual(query, { from: 'a' })
    assert.equal(phone.sent.length, sent)
    phone.entry = { scene: 1044, shareTicket: 'ticket-2' }
    assert.equal((await groups.enter()).group.openGId, 'family', 'another card enters again')
  })
}

test('after logout() the same opening logs in and enters again', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.enter()
  await groups.logout()
  assert.equal((await groups.enter()).group.openGId, 'family')
  assert.equal(phone.count('login'), 2)
})

test('after hide() and setAlias() the same opening has the new membership', async () => {
  const phone = new Phone().script('PUT /groups/family/membership', [200, { hidden: true }], [200, { hidden: true, alias: '老王' }])
  const groups = phone.start()
  const before = await groups.enter()
  await groups.hide('family')
  assert.equal((await groups.enter()).group.membership.hidden, true)
  await groups.setAlias('family', '老王')
  assert.equal((await groups.enter()).group.membership.alias, '老王')
  assert.equal(before.group.membership, undefined, 'an entry that was given out does not change')
})

// Rankings that have not changed

test('an unchanged ranking is read with its ETag, and 304 gives it again with the time of now', async () => {
  const ranking = { entries: [{ rank: 1 }], serverTime: '2026-11-30T10:00:00.000+08:00' }
  const phone = new Phone().script('GET /groups/g/ranking',
    [200, ranking, { ETag: 'W/"1"' }],
    [304, '', { Date: 'Mon, 30 Nov 2026 02:05:00 GMT' }],
    [200, { entries: [] }, { ETag: 'W/"2"' }])
  const groups = phone.start()
  const first = await groups.ranking('g')
  first.entries.length = 0
  assert.deepEqual(await groups.ranking('g'), { ...ranking, entries: [{ rank: 1 }], serverTime: '2026-11-30T10:05:00.000+08:00' })
  assert.deepEqual(await groups.ranking('g'), { entries: [] })
  const conditions = phone.sent.slice(1).map(({ header }) => header['if-none-match'])
  assert.deepEqual(conditions, [undefined, 'W/"1"', 'W/"1"'])
})

test('a 304 that no one asked for is an error; other rankings and other people send no ETag', async () => {
  const phone = new Phone().script('GET /groups/g/ranking', [304, '', {}], [200, { entries: [] }, { etag: 'W/"1"' }])
  const groups = phone.start()
  await assert.rejects(groups.ranking('g'), { code: 'bad_answer' })
  await groups.ranking('g')
  await groups.ranking('g', { period: 'all' })
  await groups.logout()
  await groups.ranking('g')
  assert.ok(phone.sent.every(({ header }) => !header['if-none-match']))
})

// The network returns

test('a listener hears when the network returns, until it is removed', () => {
  const phone = new Phone()
  let change
  phone.wx.onNetworkStatusChange = listener => { change = listener }
  const heard = []
  const groups = phone.start()
  groups.onOnline(() => { throw new Error('a listener that fails stops no other') })
  const stop = groups.onOnline(() => heard.push('one'))
  groups.onOnline(() => heard.push('two'))
  change({ isConnected: false })
  change({ isConnected: true })
  stop()
  change({ isConnected: true })
  assert.deepEqual(heard, ['one', 'two', 'two'])
})

// Through WeChat Cloud Run

test('with `cloud`, every request goes through callContainer, pictures and cloudID too', async () => {
  const phone = new Phone()
  phone.wx.request = phone.wx.uploadFile = () => assert.fail('not through callContainer')
  const sent = []
  phone.wx.cloud = {
    async callContainer ({ config, path, header, method, data }) {
      sent.push({ config, path, method, data, service: header['X-WX-SERVICE'], type: header['content-type'] })
      const route = `${method} ${path.replace('/api/v1', '')}`
      const [statusCode, body] = phone.serve(route, { header, data })
      return { statusCode, data: body, header: {} }
    }
  }
  phone.wx.getFileSystemManager = () => ({ readFileSync: (path, encoding) => path === 'a.jpg' ? (encoding ? 'QUJD' : new ArrayBuffer(8)) : undefined })
  const groups = phone.start({ baseUrl: undefined, cloud: { env: 'prod-1', service: 'api' } })
  await groups.enter()
  await groups.uploadAvatar('a.jpg')
  await assert.rejects(groups.uploadAvatar('missing.jpg'), { code: 'wx_fail' })
  assert.deepEqual(sent.map(({ path }) => path), ['/api/v1/login', '/api/v1/groups/bind', '/api/v1/me/avatar'])
  assert.equal(sent[1].data.cloudID, 'cloud')
  assert.deepEqual([sent[2].config, sent[2].service, sent[2].type, sent[2].data], [{ env: 'prod-1' }, 'api', 'application/json', { avatar: 'QUJD' }])
})

/** Return a phone whose calls go through callContainer, as `answer(route, options)` says. */
function cloudPhone (answer) {
  const phone = new Phone()
  phone.wx.cloud = {
    async callContainer (options) {
      const route = `${options.method} ${options.path.replace('/api/v1', '')}`
      phone.sent.push({ route, ...options })
      const { fail, ...answered } = answer(route, options, phone) || {}
      if (fail) throw fail
      const [statusCode, data] = answered.response || phone.serve(route, options)
      return { statusCode, data, header: {} }
    }
  }
  return phone
}

test('the connection that wakes a service in Cloud Run is lost once, and sent again', async () => {
  const lost = new Set()
  const phone = cloudPhone(route => {
    if (lost.has(route)) return undefined
    lost.add(route)
    return { fail: { errMsg: 'cloud.callContainer:fail socket hang up' } }
  })
  const groups = phone.start({ baseUrl: undefined, cloud: { env: 'prod-1', service: 'api' } })
  const { group } = await groups.enter()
  assert.ok(group)
  assert.deepEqual(phone.sent.map(({ route }) => route), ['POST /login', 'POST /login', 'POST /groups/bind', 'POST /groups/bind'])
})

test('nothing is sent three times, no deletion and no timeout twice, and nothing twice elsewhere', async () => {
  const fail = { errMsg: 'cloud.callContainer:fail socket hang up' }
  const never = cloudPhone(() => ({ fail }))
  await assert.rejects(never.start({ baseUrl: undefined, cloud: { env: 'prod-1', service: 'api' } }).setNickname('a'))
  assert.equal(never.sent.length, 2)
  const deleting = cloudPhone(route => route.startsWith('DELETE') ? { fail } : undefined)
  await assert.rejects(deleting.start({ baseUrl: undefined, cloud: { env: 'prod-1', service: 'api' } }).deleteMe())
  assert.equal(deleting.sent.filter(({ route }) => route === 'DELETE /me').length, 1)
  const slow = cloudPhone(() => ({ fail: { errMsg: 'cloud.callContainer:fail timeout' } }))
  await assert.rejects(slow.start({ baseUrl: undefined, cloud: { env: 'prod-1', service: 'api' } }).setNickname('a'), { code: 'timeout' })
  assert.equal(slow.sent.length, 1)
  const elsewhere = new Phone().script('POST /login', { fail: { errMsg: 'request:fail socket hang up' } })
  await assert.rejects(elsewhere.start().setNickname('a'))
  assert.equal(elsewhere.count('POST /login'), 1)
})

test('a picture is made smaller than 70 kB for callContainer, and sent as it is where that fails', async () => {
  for (const [sizes, expected] of [
    [[60000], ['own']],
    [[90000, 65000], ['own', 80]],
    [[900000, 200000, 90000, 69000], ['own', 80, 50, 20]],
    [[900000, 200000, 90000, 80000], ['own', 80, 50, 20]],
    [[900000], ['own', 'refused']]
  ]) {
    const phone = cloudPhone(route => ({ response: route === 'POST /me/avatar' ? [200, { id: '1' }] : undefined }))
    const asked = []
    phone.wx.compressImage = ({ src, quality, compressedWidth, success, fail }) => {
      assert.deepEqual([src, compressedWidth], ['own', 480])
      if (asked.length + 1 < sizes.length) success({ tempFilePath: quality })
      else fail({ errMsg: 'compressImage:fail' })
      asked.push(quality)
    }
    const paths = ['own', 80, 50, 20]
    phone.wx.getFileSystemManager = () => ({
      readFileSync: (path, encoding) => encoding ? `text of ${path}` : new ArrayBuffer(sizes[paths.indexOf(path)])
    })
    await phone.start({ baseUrl: undefined, cloud: { env: 'prod-1', service: 'api' } }).uploadAvatar('own')
    const { data } = phone.sent.find(({ route }) => route === 'POST /me/avatar')
    const last = sizes[sizes.length - 1]
    assert.deepEqual(data.avatar || data.byteLength, last <= 70000 ? `text of ${paths[sizes.length - 1]}` : last)
    assert.equal(asked.length, expected.length - 1)
  }
})

// Diagnostics

/** Return what a phone reports whose `wx` calls fail like this. */
async function reportsOf (failures, options, entry = { scene: 1008 }) {
  const phone = new Phone(entry)
  for (const [name, error] of Object.entries(failures)) phone.fail(name, ...Array(9).fill(error))
  const groups = phone.start(options)
  for (let time = 0; time < 3; time += 1) await groups.enter()
  await settled()
  return phone.sent.filter(({ route }) => route === 'POST /diagnostics')
}

test('what the phone could not do is reported once a kind, without ids or a token', async () => {
  const errMsg = `getGroupEnterInfo:fail ${'x'.repeat(300)}`
  const [report, ...more] = await reportsOf({ getGroupEnterInfo: { errMsg, errno: 7, errCode: 40097 } }, { diagnostics: 1 })
  assert.deepEqual(more, [])
  assert.deepEqual(report.data, {
    where: 'getGroupEnterInfo', code: 'not_from_group', errMsg: errMsg.slice(0, 200), errno: 7, scene: 1008, SDKVersion: '3.7.12', platform: 'ios'
  })
  assert.equal(report.header.authorization, undefined)
})

test('a run reports three kinds at most, and nothing when it is switched off', async () => {
  const failures = { getGroupEnterInfo: { errMsg: 'fail', errCode: 40097 }, getShareInfo: { errMsg: 'fail' }, login: { errMsg: 'fail' } }
  assert.deepEqual(await reportsOf(failures, { diagnostics: 0 }), [])
  const phone = new Phone()
  const groups = phone.start({ diagnostics: 1 })
  for (const errMsg of ['fail a', 'fail timeout', 'fail not declared in the privacy', 'fail invalid scene', 'fail domain list']) {
    phone.fail('login', { errMsg })
    await groups.me().catch(() => {})
    await groups.logout()
  }
  await settled()
  assert.equal(phone.count('POST /diagnostics'), 3)
})

test('what a member wants, or a network that is away, is not reported', async () => {
  for (const error of [{ errMsg: 'fail', errCode: 65206 }, { errMsg: 'fail', errno: 104 }, { errMsg: 'fail network error' }]) {
    assert.deepEqual(await reportsOf({ getGroupEnterInfo: error }, { diagnostics: 1 }), [])
  }
})

test('a report that fails disturbs nothing', async () => {
  const phone = new Phone().fail('getGroupEnterInfo', { errMsg: 'fail', errCode: 40097 }).script('POST /diagnostics', errorResponse(429, 'throttled'))
  assert.equal((await phone.start({ diagnostics: 1 }).enter()).group.openGId, 'family')
})

test('by default a tenth of the released runs report, and every run of the others', async t => {
  const random = t.mock.method(Math, 'random', () => 0.5)
  const failures = { getGroupEnterInfo: { errMsg: 'fail', errCode: 40097 } }
  assert.equal((await reportsOf(failures, { diagnostics: undefined })).length, 0)
  random.mock.mockImplementation(() => 0.05)
  assert.equal((await reportsOf(failures, { diagnostics: undefined })).length, 1)
})
