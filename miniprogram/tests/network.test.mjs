import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { kit, Phone, errorResponse, withFakeTime } from './phone.mjs'

const LOST = { fail: { errMsg: 'request:fail' } }

async function loggedIn () {
  const phone = new Phone()
  await phone.start().me()
  return phone
}

/** Return the value or error of `call(groups)`, and how long it took. */
async function outcomeOf (t, phone, call) {
  const groups = phone.start()
  return withFakeTime(t, () => call(groups))
}

test('at most six requests run at once, and all get their response', async () => {
  const phone = await loggedIn()
  const groups = phone.start()
  const bodies = await Promise.all(Array.from({ length: 25 }, (_, index) => groups.request(`/n/${index}`)))
  assert.deepEqual(bodies.map(({ route }) => route), Array.from({ length: 25 }, (_, index) => `GET /n/${index}`))
  assert.equal(phone.maxActive, 6)
})

test('a failed request frees its slot', async () => {
  const phone = await loggedIn()
  const groups = phone.start()
  const lost = Array.from({ length: 12 }, (_, index) => {
    phone.script(`POST /n/${index}`, LOST)
    return groups.request(`/n/${index}`, { method: 'POST' })
  })
  const outcomes = await Promise.allSettled(lost)
  assert.ok(outcomes.every(({ reason }) => reason.code === 'offline'))
  await Promise.all(Array.from({ length: 12 }, () => groups.me()))
  assert.equal(phone.maxActive, 6)
})

test('six calls that need a log-in do not block it', async () => {
  const phone = await loggedIn()
  phone.revokeTokens()
  const groups = phone.start()
  await Promise.all(Array.from({ length: 20 }, () => groups.me()))
  assert.equal(phone.count('login'), 2)
})

test('a request that never ends frees its slot', async t => {
  const phone = await loggedIn()
  const { request } = phone.wx
  const groups = phone.start()
  phone.wx.request = () => {}
  const { value } = await withFakeTime(t, () => Promise.allSettled(
    Array.from({ length: 6 }, () => groups.setNickname('小明'))
  ))
  assert.ok(value.every(({ reason }) => reason.code === 'timeout'))
  phone.wx.request = request
  await groups.me()
})

// Retries

for (const [what, bad] of [
  ['lost', LOST],
  ['interrupted', { fail: { errMsg: 'request:fail interrupted' } }],
  ['answered by a gateway', [502, '<html>']],
  ['refused for now', errorResponse(503, 'unavailable', { retryAfter: 1 })]
]) {
  test(`a GET that is ${what} is retried`, async t => {
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

test('a GET is sent three times at most', async t => {
  const phone = (await loggedIn()).script('GET /me', LOST, LOST, LOST, LOST)
  const { error } = await outcomeOf(t, phone, groups => groups.me())
  assert.equal(error.code, 'offline')
  assert.equal(phone.count('GET /me'), 4, 'one before, and three attempts')
})

test('a GET waits for retryAfter', async t => {
  const phone = (await loggedIn()).script('GET /me', errorResponse(429, 'throttled', { retryAfter: 3 }))
  const { value, elapsed } = await outcomeOf(t, phone, groups => groups.me())
  assert.equal(value.route, 'GET /me')
  assert.ok(elapsed >= 3000 && elapsed < 4000, `${elapsed} ms`)
})

test('the header Retry-After counts too', async t => {
  const phone = (await loggedIn()).script('GET /me', [503, '', { 'retry-After': '2' }])
  const { elapsed } = await outcomeOf(t, phone, groups => groups.me())
  assert.ok(elapsed >= 2000 && elapsed < 3000, `${elapsed} ms`)
})

test('a GET does not wait for a long retryAfter: the error has it', async t => {
  const phone = (await loggedIn()).script('GET /me', errorResponse(429, 'throttled', { retryAfter: 60 }))
  const { error, elapsed } = await outcomeOf(t, phone, groups => groups.me())
  assert.equal(error.retryAfter, 60)
  assert.equal(elapsed, 0)
})

test('a refused POST says how long to wait', async () => {
  const phone = (await loggedIn()).script('POST /scores', errorResponse(429, 'throttled', { retryAfter: 7 }))
  await assert.rejects(phone.start().submitScore({ board: 'points', value: 1 }), { retryAfter: 7 })
})

test('a GET that waits to retry uses no slot', async t => {
  const phone = await loggedIn()
  const slow = errorResponse(429, 'throttled', { retryAfter: 4 })
  phone.script('GET /slow', ...Array.from({ length: 6 }, () => slow))
  const order = []
  await outcomeOf(t, phone, groups => Promise.all([
    ...Array.from({ length: 6 }, () => groups.request('/slow').then(() => order.push('slow'))),
    nextTurn().then(() => groups.me()).then(() => order.push('quick'))
  ]))
  assert.equal(order[0], 'quick')
})

test('final errors are not retried', async () => {
  const phone = await loggedIn()
  for (const [status, code] of [[400, 'invalid'], [403, 'permission_denied'], [404, 'not_found'], [500, 'server_error']]) {
    phone.script('GET /thing', errorResponse(status, code))
    await assert.rejects(phone.start().request('/thing'), { code, status })
  }
  assert.equal(phone.count('GET /thing'), 4)
})

// Responses

test('a body that arrives as text is parsed', async () => {
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
  test(`${what} with status 200 is a bad_answer`, async () => {
    const phone = (await loggedIn()).script('GET /me', [200, data])
    await assert.rejects(phone.start().me(), { code: 'bad_answer', status: 200 })
  })
}

test('the code of an error that is not the server\'s is its status', async () => {
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

test("errors are in the phone's language, and so is accept-language", async () => {
  for (const [language, header, message] of [['zh_CN', 'zh-CN', /网络/], ['zh_TW', 'zh-CN', /網路/], ['zh_HK', 'zh-CN', /網路/], ['zh-Hant', 'zh-CN', /網路/], ['en', 'en', /connection/], [undefined, 'zh-CN', /网络/]]) {
    const phone = new Phone().script('POST /login', LOST)
    phone.wx.getAppBaseInfo = () => ({ SDKVersion: '3.0.0', language })
    await assert.rejects(phone.start().me(), { message })
    assert.equal(phone.sent[0].header['accept-language'], header)
  }
})

// Another transport

test('a transport replaces wx.request, for log-in too', async () => {
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

test('a transport that never ends frees its slot', async t => {
  const groups = new Phone().start({ transport: () => new Promise(() => {}), getToken: async () => 't' })
  const { value } = await withFakeTime(t, () => Promise.allSettled(
    Array.from({ length: 7 }, () => groups.setNickname('小明'))
  ))
  assert.deepEqual(value.map(({ reason }) => reason.code), Array(7).fill('timeout'))
})

test("a transport's failures are treated like those of wx.request", async () => {
  const transport = async () => { throw { errMsg: 'cloud.callContainer:fail timeout' } }
  await assert.rejects(new Phone().start({ transport }).me(), { code: 'timeout' })
})
