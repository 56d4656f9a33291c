import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { kit, Phone, errorResponse, withFakeTime } from './phone.mjs'

const URLS = { develop: 'http://192.168.0.2:8000', trial: 'https://trial.example', release: 'https://site.example' }

function apiUrlOf (baseUrl, envVersion = 'release') {
  const phone = new Phone()
  phone.wx.getAccountInfoSync = () => ({ miniProgram: { appId: 'wxapp', envVersion } })
  phone.wx.request = ({ url, success }) => { phone.url = url; success({ statusCode: 200, data: { token: 't' } }) }
  return phone.start({ baseUrl }).me().then(() => phone.url.replace('/me', ''))
}

test('ten calls at once make one log-in', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await Promise.all(Array.from({ length: 10 }, () => groups.me()))
  assert.equal(phone.count('login'), 1)
  assert.equal(phone.count('POST /login'), 1)
})

test('ten calls and an enter at once, all refused, make one more log-in', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.me()
  phone.revokeTokens()
  const [entry] = await Promise.all([groups.enter(), ...Array.from({ length: 10 }, () => groups.me())])
  assert.equal(entry.group.openGId, 'family')
  assert.equal(phone.count('login'), 2)
})

test('a late 401 for an old token does not discard the newer session', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.me()
  phone.revokeTokens()
  let respondLate
  phone.script('GET /boards', () => new Promise(resolve => { respondLate = resolve }))
  const late = groups.boards()
  await groups.me()
  assert.equal(phone.count('login'), 2)
  respondLate(errorResponse(401, 'invalid_token'))
  await late
  assert.equal(phone.count('login'), 2)
  assert.equal(phone.sent.at(-1).header.authorization, 'Bearer token-2')
})

test('a call refused twice is given up', async () => {
  const phone = new Phone()
  const no = errorResponse(401, 'invalid_token')
  phone.script('GET /me', no, no, no)
  await assert.rejects(phone.start().me(), { code: 'invalid_token', status: 401, requestId: 'r-1' })
  assert.equal(phone.count('GET /me'), 2)
})

test('a code that WeChat refuses is replaced once', async () => {
  const phone = new Phone().script('POST /login', errorResponse(401, 'invalid_code'))
  await phone.start().me()
  assert.equal(phone.count('login'), 2)
  phone.revokeTokens()
  phone.script('POST /login', errorResponse(401, 'invalid_code'), errorResponse(401, 'invalid_code'))
  await assert.rejects(phone.start().me(), { code: 'invalid_code' })
})

test('a failed log-in fails all calls that waited for it, and the next call logs in again', async () => {
  const phone = new Phone().fail('login', { errMsg: 'login:fail' })
  const groups = phone.start()
  const outcomes = await Promise.allSettled([groups.me(), groups.boards()])
  assert.deepEqual(outcomes.map(({ reason }) => reason.code), ['wx_fail', 'wx_fail'])
  await groups.me()
  assert.equal(phone.count('login'), 2)
})

test('a wx.login that never ends is a timeout and does not block the next', async t => {
  const phone = new Phone()
  const { login } = phone.wx
  phone.wx.login = () => {}
  const groups = phone.start()
  const { error } = await withFakeTime(t, () => groups.me())
  assert.equal(error.code, 'timeout')
  phone.wx.login = login
  await groups.me()
})

test('a log-in response without a token is an error', async () => {
  const phone = new Phone().script('POST /login', [200, { welcome: 'to the airport' }])
  await assert.rejects(phone.start().me(), { code: 'bad_answer' })
})

test('the log-in sends the appid', async () => {
  const phone = new Phone()
  await phone.start().me()
  assert.deepEqual(phone.sent[0].data, { code: 'code-1', appid: 'wxapp' })
  await phone.start({ appid: 'wxother' }).me()
  assert.equal(phone.sent.at(-2).data.appid, 'wxother')
})

test('the token is kept for the next start, of this mini-program, environment and server only', async () => {
  const phone = new Phone()
  await phone.start().me()
  await phone.start().me()
  assert.equal(phone.count('login'), 1)
  assert.deepEqual([...phone.storage.keys()], ['groupsite wxapp release https://site.example/api/v1'])
  await phone.start({ baseUrl: 'https://other.example' }).me().catch(() => {})
  await phone.start({ appid: 'wxother' }).me()
  phone.wx.getAccountInfoSync = () => ({ miniProgram: { appId: 'wxapp', envVersion: 'trial' } })
  await phone.start().me()
  assert.equal(phone.count('login'), 4)
})

test('a full or blocked storage costs nothing but log-ins', async () => {
  const phone = new Phone()
  const broken = () => { throw new Error('setStorageSync:fail quota exceeded') }
  Object.assign(phone.wx, { getStorageSync: broken, setStorageSync: broken, removeStorageSync: broken })
  const groups = phone.start()
  await groups.me()
  await groups.me()
  await groups.deleteMe()
  assert.equal(phone.count('login'), 1)
})

test('deleteMe deletes the session on the phone too', async () => {
  const phone = new Phone().script('DELETE /me', [204, ''])
  const groups = phone.start()
  assert.equal(await groups.deleteMe(), undefined)
  assert.equal(phone.storage.size, 0)
  await groups.me()
  assert.equal(phone.count('login'), 2)
})

test('a failed deleteMe keeps the session', async () => {
  const phone = new Phone().script('DELETE /me', errorResponse(503, 'unavailable', { retryAfter: 1 }))
  const groups = phone.start()
  await assert.rejects(groups.deleteMe(), { code: 'unavailable' })
  assert.equal(phone.storage.size, 1)
})

// Your own back end

test('what getToken was refused with is said', async () => {
  const groups = new Phone().start({ getToken: () => Promise.reject({ errMsg: 'request:fail timeout' }) })
  await assert.rejects(groups.me(), { code: 'get_token', errMsg: 'request:fail timeout' })
})

test('getToken replaces wx.login, is never called twice at once, and gets the reason', async () => {
  const phone = new Phone()
  const reasons = []
  const getToken = async reason => {
    reasons.push(reason)
    await nextTurn()
    return phone.serveLogin({ code: `code-${(phone.key += 1)}` })[1].token
  }
  const groups = phone.start({ getToken })
  await Promise.all([groups.me(), groups.boards(), groups.groups()])
  phone.revokeTokens()
  await Promise.all([groups.me(), groups.boards()])
  phone.logInElsewhere()
  assert.equal((await groups.enter()).group.openGId, 'family')
  assert.deepEqual(reasons, ['start', 'expired', 'stale'])
  assert.equal(phone.count('login') + phone.count('POST /login'), 0)
})

test('a getToken that rejects, throws or returns nothing is an error of the call', async () => {
  const phone = new Phone()
  const failing = [() => Promise.reject(new Error('their server is down')), () => { throw new Error('oops') }, async () => '']
  for (const getToken of failing) {
    await assert.rejects(phone.start({ getToken }).me(), error => {
      assert.ok(error instanceof kit.GroupsError)
      return error.code === 'get_token'
    })
  }
})

// The base URL

for (const url of ['https://a.example', 'https://a.example/', 'https://a.example/api/v1', 'https://a.example/api/v1/', 'https://a.example//']) {
  test(`baseUrl may be ${url}`, async () => {
    assert.equal(await apiUrlOf(url), 'https://a.example/api/v1')
  })
}

test('a path before the API is kept', async () => {
  assert.equal(await apiUrlOf('https://a.example/groups/'), 'https://a.example/groups/api/v1')
})

for (const [environment, url] of Object.entries(URLS)) {
  test(`the ${environment} version calls its own server`, async () => {
    assert.equal(await apiUrlOf(URLS, environment), `${url}/api/v1`)
  })
}

test('without an environment the release server is called', async () => {
  assert.equal(await apiUrlOf(URLS, undefined), 'https://site.example/api/v1')
})

test('without a baseUrl for the environment createGroups says so, and every call too', async t => {
  const errors = t.mock.method(console, 'error', () => {})
  for (const baseUrl of [undefined, null, '', 7, { develop: 'http://127.0.0.1:8000' }]) {
    const phone = new Phone()
    const groups = phone.start({ baseUrl })
    await assert.rejects(groups.me(), { name: 'GroupsError', code: 'misconfigured' })
    await assert.rejects(groups.uploadAvatar('a.jpg'), { code: 'misconfigured' })
    assert.equal((await groups.enter()).error.code, 'misconfigured')
    assert.deepEqual(phone.sent, [])
  }
  assert.equal(errors.mock.callCount(), 5)
  assert.match(errors.mock.calls[0].arguments[0], /no baseUrl for "release"/)
})
