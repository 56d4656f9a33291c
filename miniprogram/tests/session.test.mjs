import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as soon } from 'node:timers/promises'

import { kit, Phone, refusal, skippingTime } from './phone.mjs'

const URLS = { develop: 'http://192.168.0.2:8000', trial: 'https://trial.example', release: 'https://site.example' }

function addressOf (baseUrl, envVersion = 'release') {
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

test('ten calls and an entry at once, all refused, make one more log-in', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.me()
  phone.endAllTokens()
  const [entry] = await Promise.all([groups.enter(), ...Array.from({ length: 10 }, () => groups.me())])
  assert.equal(entry.group.openGId, 'family')
  assert.equal(phone.count('login'), 2)
})

test('a late 401 for an old token does not discard the newer session', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.me()
  phone.endAllTokens()
  let answerLate
  phone.script('GET /boards', () => new Promise(resolve => { answerLate = resolve }))
  const late = groups.boards()
  await groups.me()
  assert.equal(phone.count('login'), 2)
  answerLate(refusal(401, 'invalid_token'))
  await late
  assert.equal(phone.count('login'), 2)
  assert.equal(phone.sent.at(-1).header.authorization, 'Bearer token-2')
})

test('a call refused twice is given up', async () => {
  const phone = new Phone()
  const no = refusal(401, 'invalid_token')
  phone.script('GET /me', no, no, no)
  await assert.rejects(phone.start().me(), { code: 'invalid_token', status: 401, requestId: 'r-1' })
  assert.equal(phone.count('GET /me'), 2)
})

test('a code that WeChat refuses is replaced once', async () => {
  const phone = new Phone().script('POST /login', refusal(401, 'invalid_code'))
  await phone.start().me()
  assert.equal(phone.count('login'), 2)
  phone.endAllTokens()
  phone.script('POST /login', refusal(401, 'invalid_code'), refusal(401, 'invalid_code'))
  await assert.rejects(phone.start().me(), { code: 'invalid_code' })
})

test('a failed log-in fails all who waited for it, and the next call tries again', async () => {
  const phone = new Phone().fail('login', { errMsg: 'login:fail' })
  const groups = phone.start()
  const outcomes = await Promise.allSettled([groups.me(), groups.boards()])
  assert.deepEqual(outcomes.map(({ reason }) => reason.code), ['wx_fail', 'wx_fail'])
  await groups.me()
  assert.equal(phone.count('login'), 2)
})

test('a wx.login that never comes back is a timeout, not a lock', async t => {
  const phone = new Phone()
  const { login } = phone.wx
  phone.wx.login = () => {}
  const groups = phone.start()
  const { error } = await skippingTime(t, () => groups.me())
  assert.equal(error.code, 'timeout')
  phone.wx.login = login
  await groups.me()
})

test('a log-in answer without a token is an error, not a token', async () => {
  const phone = new Phone().script('POST /login', [200, { welcome: 'to the airport' }])
  await assert.rejects(phone.start().me(), { code: 'bad_answer' })
})

test('the log-in says which mini-program it is', async () => {
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

test('a storage that is full or blocked costs nothing but log-ins', async () => {
  const phone = new Phone()
  const broken = () => { throw new Error('setStorageSync:fail quota exceeded') }
  Object.assign(phone.wx, { getStorageSync: broken, setStorageSync: broken, removeStorageSync: broken })
  const groups = phone.start()
  await groups.me()
  await groups.me()
  await groups.deleteMe()
  assert.equal(phone.count('login'), 1)
})

test('deleteMe forgets the session here, where the server has erased it', async () => {
  const phone = new Phone().script('DELETE /me', [204, ''])
  const groups = phone.start()
  assert.equal(await groups.deleteMe(), undefined)
  assert.equal(phone.storage.size, 0)
  await groups.me()
  assert.equal(phone.count('login'), 2)
})

test('deleteMe that fails forgets nothing', async () => {
  const phone = new Phone().script('DELETE /me', refusal(503, 'unavailable', { retryAfter: 1 }))
  const groups = phone.start()
  await assert.rejects(groups.deleteMe(), { code: 'unavailable' })
  assert.equal(phone.storage.size, 1)
})

// A team's own back end

test('getToken logs in instead of wx.login, one caller at a time, and hears why', async () => {
  const phone = new Phone()
  const reasons = []
  const getToken = async reason => {
    reasons.push(reason)
    await soon()
    return phone.serveLogin({ code: `code-${(phone.key += 1)}` })[1].token
  }
  const groups = phone.start({ getToken })
  await Promise.all([groups.me(), groups.boards(), groups.groups()])
  phone.endAllTokens()
  await Promise.all([groups.me(), groups.boards()])
  phone.logInElsewhere()
  assert.equal((await groups.enter()).group.openGId, 'family')
  assert.deepEqual(reasons, ['start', 'expired', 'stale'])
  assert.equal(phone.count('login') + phone.count('POST /login'), 0)
})

test('a getToken that fails, throws or gives nothing is an error of the call', async () => {
  const phone = new Phone()
  const failing = [() => Promise.reject(new Error('their server is down')), () => { throw new Error('oops') }, async () => '']
  for (const getToken of failing) {
    await assert.rejects(phone.start({ getToken }).me(), error => {
      assert.ok(error instanceof kit.GroupsError)
      return error.code === 'get_token'
    })
  }
})

// Where the server is

for (const url of ['https://a.example', 'https://a.example/', 'https://a.example/api/v1', 'https://a.example/api/v1/', 'https://a.example//']) {
  test(`baseUrl may be ${url}`, async () => {
    assert.equal(await addressOf(url), 'https://a.example/api/v1')
  })
}

test('a path before the API is kept', async () => {
  assert.equal(await addressOf('https://a.example/groups/'), 'https://a.example/groups/api/v1')
})

for (const [environment, url] of Object.entries(URLS)) {
  test(`the ${environment} version calls the server named for it`, async () => {
    assert.equal(await addressOf(URLS, environment), `${url}/api/v1`)
  })
}

test('where the phone does not say its environment it is the release', async () => {
  assert.equal(await addressOf(URLS, undefined), 'https://site.example/api/v1')
})

test('a missing baseUrl is said at the start, with the environment', () => {
  const start = baseUrl => () => new Phone().start({ baseUrl })
  assert.throws(start(undefined), /no baseUrl for "release"/)
  assert.throws(start({ develop: 'http://127.0.0.1:8000' }), /no baseUrl for "release"/)
})
