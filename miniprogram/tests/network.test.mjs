import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as soon } from 'node:timers/promises'

import { kit, Phone, refusal, skippingTime } from './phone.mjs'

const LOST = { fail: { errMsg: 'request:fail' } }

async function loggedIn () {
  const phone = new Phone()
  await phone.start().me()
  return phone
}

/** What becomes of `call(groups)` and how long it takes, after log-in. */
async function outcomeOf (t, phone, call) {
  const groups = phone.start()
  return skippingTime(t, () => call(groups))
}

test('at most six requests are on their way, and all arrive in turn', async () => {
  const phone = await loggedIn()
  const groups = phone.start()
  const answers = await Promise.all(Array.from({ length: 25 }, (_, index) => groups.request(`/n/${index}`)))
  assert.deepEqual(answers.map(({ route }) => route), Array.from({ length: 25 }, (_, index) => `GET /n/${index}`))
  assert.equal(phone.peak, 6)
})

test('a place is handed on also where a request fails', async () => {
  const phone = await loggedIn()
  const groups = phone.start()
  const lost = Array.from({ length: 12 }, (_, index) => {
    phone.script(`POST /n/${index}`, LOST)
    return groups.request(`/n/${index}`, { method: 'POST' })
  })
  const outcomes = await Promise.allSettled(lost)
  assert.ok(outcomes.every(({ reason }) => reason.code === 'offline'))
  await Promise.all(Array.from({ length: 12 }, () => groups.me()))
  assert.equal(phone.peak, 6)
})

test('six calls that need a log-in do not keep it from being made', async () => {
  const phone = await loggedIn()
  phone.endAllTokens()
  const groups = phone.start()
  await Promise.all(Array.from({ length: 20 }, () => groups.me()))
  assert.equal(phone.count('login'), 2)
})

test('a request that never comes back gives its place to others', async t => {
  const phone = await loggedIn()
  const { request } = phone.wx
  const groups = phone.start()
  phone.wx.request = () => {}
  const { value } = await skippingTime(t, () => Promise.allSettled(
    Array.from({ length: 6 }, () => groups.setNickname('小明'))
  ))
  assert.ok(value.every(({ reason }) => reason.code === 'timeout'))
  phone.wx.request = request
  await groups.me()
})

// Repeating

for (const [what, bad] of [
  ['lost', LOST],
  ['interrupted', { fail: { errMsg: 'request:fail interrupted' } }],
  ['answered by a gateway', [502, '<html>']],
  ['refused for a moment', refusal(503, 'unavailable', { retryAfter: 1 })]
]) {
  test(`a GET that is ${what} is repeated`, async t => {
    const phone = (await loggedIn()).script('GET /me', bad, bad)
    const { value } = await outcomeOf(t, phone, groups => groups.me())
    assert.equal(value.route, 'GET /me')
  })

  test(`a POST, PUT or DELETE that is ${what} is not`, async t => {
    const phone = await loggedIn()
    for (const method of ['POST', 'PUT', 'DELETE']) {
      phone.script(`${method} /thing`, bad)
      const { error } = await outcomeOf(t, phone, groups => groups.request('/thing', { method }))
      assert.ok(error instanceof kit.GroupsError)
      assert.equal(phone.count(`${method} /thing`), 1)
    }
  })
}

test('a GET is tried three times and no more', async t => {
  const phone = (await loggedIn()).script('GET /me', LOST, LOST, LOST, LOST)
  const { error } = await outcomeOf(t, phone, groups => groups.me())
  assert.equal(error.code, 'offline')
  assert.equal(phone.count('GET /me'), 4, 'once before, and three times')
})

test('retryAfter is how long a GET waits', async t => {
  const phone = (await loggedIn()).script('GET /me', refusal(429, 'throttled', { retryAfter: 3 }))
  const { value, elapsed } = await outcomeOf(t, phone, groups => groups.me())
  assert.equal(value.route, 'GET /me')
  assert.ok(elapsed >= 3000 && elapsed < 4000, `${elapsed} ms`)
})

test('the header Retry-After counts too', async t => {
  const phone = (await loggedIn()).script('GET /me', [503, '', { 'retry-After': '2' }])
  const { elapsed } = await outcomeOf(t, phone, groups => groups.me())
  assert.ok(elapsed >= 2000 && elapsed < 3000, `${elapsed} ms`)
})

test('nobody is kept waiting for long: the error says how long it would be', async t => {
  const phone = (await loggedIn()).script('GET /me', refusal(429, 'throttled', { retryAfter: 60 }))
  const { error, elapsed } = await outcomeOf(t, phone, groups => groups.me())
  assert.equal(error.retryAfter, 60)
  assert.equal(elapsed, 0)
})

test('a refused POST says how long to wait', async () => {
  const phone = (await loggedIn()).script('POST /scores', refusal(429, 'throttled', { retryAfter: 7 }))
  await assert.rejects(phone.start().submitScore({ board: 'points', value: 1 }), { retryAfter: 7 })
})

test('a GET that waits does not hold a place', async t => {
  const phone = await loggedIn()
  const slow = refusal(429, 'throttled', { retryAfter: 4 })
  phone.script('GET /slow', ...Array.from({ length: 6 }, () => slow))
  const order = []
  await outcomeOf(t, phone, groups => Promise.all([
    ...Array.from({ length: 6 }, () => groups.request('/slow').then(() => order.push('slow'))),
    soon().then(() => groups.me()).then(() => order.push('quick'))
  ]))
  assert.equal(order[0], 'quick')
})

test('mistakes are not repeated', async () => {
  const phone = await loggedIn()
  for (const [status, code] of [[400, 'invalid'], [403, 'permission_denied'], [404, 'not_found'], [500, 'server_error']]) {
    phone.script('GET /thing', refusal(status, code))
    await assert.rejects(phone.start().request('/thing'), { code, status })
  }
  assert.equal(phone.count('GET /thing'), 4)
})

// Reading

test('a body that arrives as text is read', async () => {
  const phone = (await loggedIn()).script('GET /me', [200, '{"nickname": "小明"}'])
  assert.deepEqual(await phone.start().me(), { nickname: '小明' })
})

test('a refusal that arrives as text, within success, is a rejection', async () => {
  const body = { code: 'invalid', detail: '太长', requestId: 'r-9', fields: { nickname: ['最多 32 个字'] } }
  const phone = (await loggedIn()).script('PUT /me', [400, JSON.stringify(body)])
  await assert.rejects(phone.start().setNickname('长'.repeat(99)), {
    name: 'GroupsError', code: 'invalid', message: '太长', status: 400, requestId: 'r-9', fields: body.fields
  })
})

for (const [what, data] of [['a page', '<html>Wi-Fi</html>'], ['nothing', ''], ['a number', '42'], ['null', null]]) {
  test(`${what} with status 200 is not taken for an answer`, async () => {
    const phone = (await loggedIn()).script('GET /me', [200, data])
    await assert.rejects(phone.start().me(), { code: 'bad_answer', status: 200 })
  })
}

test('an error without our shape has its status for a code', async () => {
  const phone = (await loggedIn()).script('PUT /me', [413, '<html>', { 'X-Request-ID': 'r-3' }])
  await assert.rejects(phone.start().setNickname('a'), { code: 'http_413', status: 413, requestId: 'r-3' })
})

for (const [errMsg, code] of [
  ['request:fail timeout', 'timeout'],
  ['request:fail interrupted', 'interrupted'],
  ['request:fail url not in domain list', 'domain_not_listed'],
  ['request:fail net::ERR_INTERNET_DISCONNECTED', 'offline'],
  ['request:fail ', 'offline']
]) {
  test(`"${errMsg}" is ${code}`, async () => {
    const phone = (await loggedIn()).script('POST /scores', { fail: { errMsg, errno: 5 } })
    await assert.rejects(phone.start().submitScore({ board: 'b', value: 1 }), { code, errMsg, errno: 5 })
  })
}

test("errors speak the phone's language, and ask the server to", async () => {
  for (const [language, header, sentence] of [['zh_TW', 'zh-CN', /网络/], ['en', 'en', /connection/], [undefined, 'zh-CN', /网络/]]) {
    const phone = new Phone().script('POST /login', LOST)
    phone.wx.getAppBaseInfo = () => ({ SDKVersion: '3.0.0', language })
    await assert.rejects(phone.start().me(), { message: sentence })
    assert.equal(phone.sent[0].header['accept-language'], header)
  }
})

// Another transport

test('a transport replaces wx.request, log-in and all', async () => {
  const phone = new Phone()
  phone.wx.request = () => assert.fail('wx.request was called')
  const sent = []
  const transport = async ({ url, method, header, data, timeout }) => {
    sent.push({ url, method, authorization: header.authorization, data })
    assert.ok(timeout > 0)
    return { statusCode: 200, data: url.endsWith('/login') ? '{"token": "t"}' : { ok: true } }
  }
  assert.deepEqual(await phone.start({ transport }).setNickname('小明'), { ok: true })
  assert.deepEqual(sent.map(({ method, url }) => `${method} ${url}`), [
    'POST https://site.example/api/v1/login', 'PUT https://site.example/api/v1/me'
  ])
  assert.deepEqual(sent[1], { url: sent[1].url, method: 'PUT', authorization: 'Bearer t', data: { nickname: '小明' } })
})

test('a transport that never comes back gives its place to others', async t => {
  const groups = new Phone().start({ transport: () => new Promise(() => {}), getToken: async () => 't' })
  const { value } = await skippingTime(t, () => Promise.allSettled(
    Array.from({ length: 7 }, () => groups.setNickname('小明'))
  ))
  assert.deepEqual(value.map(({ reason }) => reason.code), Array(7).fill('timeout'))
})

test("a transport's failures are read as wx.request's", async () => {
  const transport = async () => { throw { errMsg: 'cloud.callContainer:fail timeout' } }
  await assert.rejects(new Phone().start({ transport }).me(), { code: 'timeout' })
})
