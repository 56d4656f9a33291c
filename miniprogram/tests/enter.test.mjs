import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Phone, errorResponse } from './phone.mjs'

const FROM_A_CARD = { scene: 1008, query: {} }

async function reasonOn (phone) {
  return (await phone.start().enter()).reason
}

test('a card opened in a group gives the group and the query of the share', async () => {
  const phone = new Phone({ scene: 1044, shareTicket: 't', query: { from: 'alice' } })
  const entry = await phone.start().enter()
  assert.equal(entry.group.openGId, 'family')
  assert.equal(entry.created, true)
  assert.deepEqual(entry.query, { from: 'alice' })
})

test('the code is exchanged before WeChat is asked for encrypted data', async () => {
  const phone = new Phone()
  const order = []
  phone.script('POST /login', options => { order.push('exchanged'); return phone.serveLogin(options.data) })
  const { getGroupEnterInfo } = phone.wx
  phone.wx.getGroupEnterInfo = options => { order.push('asked'); getGroupEnterInfo(options) }
  await phone.start().enter()
  assert.deepEqual(order, ['exchanged', 'asked'])
})

test('the envelope is sent to the server with its scene and nothing else', async () => {
  const phone = new Phone()
  await phone.start().enter()
  const { data } = phone.sent.find(({ route }) => route === 'POST /groups/bind')
  assert.deepEqual(data, { encryptedData: 'sealed-1', iv: 'iv', scene: 1044 })
})

test('a token from an earlier run is used, and a log-in is only made if the data is stale', async () => {
  const phone = new Phone()
  await phone.start().me()
  const entry = await phone.start().enter()
  assert.equal(entry.group.openGId, 'family')
  assert.equal(phone.count('login'), 1)
})

test('stale data is fetched again after logging in, and bound on the second attempt', async () => {
  const phone = new Phone()
  await phone.start().me()
  phone.logInElsewhere()
  const entry = await phone.start().enter()
  assert.equal(entry.group.openGId, 'family')
  assert.equal(phone.count('login'), 2)
  assert.equal(phone.count('getGroupEnterInfo'), 2)
  assert.equal(phone.count('POST /groups/bind'), 2)
})

test('data that stays stale is given up after one retry', async () => {
  const phone = new Phone()
  const stale = errorResponse(409, 'session_stale')
  phone.script('POST /groups/bind', stale, stale, stale, stale)
  const entry = await phone.start().enter()
  assert.equal(entry.reason, 'failed')
  assert.equal(entry.error.code, 'session_stale')
  assert.equal(phone.count('POST /groups/bind'), 2)
})

test('after a 401 the envelope is fetched again, because the log-in made the first one stale', async () => {
  const phone = new Phone()
  await phone.start().me()
  phone.revokeTokens()
  const entry = await phone.start().enter()
  assert.equal(entry.group.openGId, 'family')
  assert.equal(phone.count('getGroupEnterInfo'), 2)
})

test('entering twice at once, and once more afterwards, binds once and gives the same', async () => {
  const phone = new Phone()
  const groups = phone.start()
  const [first, second] = await Promise.all([groups.enter(), groups.enter(phone.entry)])
  assert.equal(first, second)
  assert.equal(await groups.enter(), first)
  assert.equal(phone.count('POST /groups/bind'), 1)
})

test('a ticket is the same opening after Home and back', async () => {
  const phone = new Phone()
  const groups = phone.start()
  const first = await groups.enter()
  phone.comeBack()
  assert.equal(await groups.enter(), first)
})

test('another ticket is another opening, even right away', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.enter()
  phone.entry = { scene: 1044, shareTicket: 'ticket-2' }
  phone.chat = 'work'
  assert.equal((await groups.enter()).group.openGId, 'work')
})

for (const scene of [1008, 1158, 1160, 1185]) {
  test(`scene ${scene} has no ticket: one bind for each return to the foreground`, async () => {
    const phone = new Phone({ scene, query: {} })
    const groups = phone.start()
    const first = await groups.enter()
    assert.equal(await groups.enter(), first)
    phone.comeBack()
    phone.chat = 'work'
    assert.equal((await groups.enter()).group.openGId, 'work')
    assert.equal(phone.count('POST /groups/bind'), 2)
  })
}

test('an opening that failed offline is retried by the next enter', async () => {
  const phone = new Phone()
  const groups = phone.start()
  phone.script('POST /groups/bind', { fail: { errMsg: 'request:fail' } })
  assert.equal((await groups.enter()).reason, 'offline')
  assert.equal((await groups.enter()).group.openGId, 'family')
})

test('the entry of an earlier opening is not returned for a later one', async () => {
  const phone = new Phone()
  const groups = phone.start()
  phone.script('POST /groups/bind', { fail: { errMsg: 'request:fail' } })
  const first = groups.enter()
  phone.entry = { scene: 1044, shareTicket: 'ticket-2' }
  const second = groups.enter()
  assert.equal((await first).reason, 'offline')
  assert.equal(await groups.enter(), await second)
})

test('getShareInfo is used if getGroupEnterInfo fails', async () => {
  const phone = new Phone().fail('getGroupEnterInfo', { errMsg: 'fail', errCode: 40097 })
  assert.equal((await phone.start().enter()).group.openGId, 'family')
  assert.equal(phone.count('getShareInfo'), 1)
})

test('getShareInfo is used if the phone lacks getGroupEnterInfo', async () => {
  const phone = new Phone()
  delete phone.wx.getGroupEnterInfo
  assert.equal((await phone.start().enter()).group.openGId, 'family')
})

test('getShareInfo is used if getGroupEnterInfo returns no data', async () => {
  const phone = new Phone()
  phone.wx.getGroupEnterInfo = ({ success }) => success({ errMsg: 'getGroupEnterInfo:ok', encryptedData: '' })
  assert.equal((await phone.start().enter()).group.openGId, 'family')
})

for (const error of [{ errCode: 65206 }, { errCode: '65206' }, { errno: 65206 }, { err_code: '65206' }, { errMsg: 'getGroupEnterInfo:fail 65206' }]) {
  test(`a member who left the group gets left_group, without getShareInfo: ${JSON.stringify(error)}`, async () => {
    const phone = new Phone().fail('getGroupEnterInfo', { errMsg: 'getGroupEnterInfo:fail', ...error })
    assert.equal(await reasonOn(phone), 'left_group')
    assert.equal(phone.count('getShareInfo'), 0)
  })
}

for (const errCode of [40097, '40097']) {
  test(`${typeof errCode} 40097 without a ticket is no_ticket`, async () => {
    const phone = new Phone(FROM_A_CARD).fail('getGroupEnterInfo', { errMsg: 'fail', errCode })
    assert.equal(await reasonOn(phone), 'no_ticket')
  })
}

test('a ticket that WeChat no longer knows is no_ticket', async () => {
  const wrong = { errMsg: 'getShareInfo:fail invalid shareTicket', errCode: 40097 }
  const phone = new Phone().fail('getGroupEnterInfo', wrong).fail('getShareInfo', wrong)
  assert.equal(await reasonOn(phone), 'no_ticket')
})

test('a spurious 40097 is not kept: the next enter calls WeChat again', async () => {
  const phone = new Phone(FROM_A_CARD).fail('getGroupEnterInfo', { errMsg: 'fail', errCode: 40097 })
  const groups = phone.start()
  assert.equal((await groups.enter()).reason, 'no_ticket')
  assert.equal((await groups.enter()).group.openGId, 'family')
})

for (const [what, entry, reason] of [
  ['a card in a one-to-one chat', { scene: 1007 }, 'single_chat'],
  ['a one-to-one chat by its type', { scene: 1044, shareTicket: 't', chatType: 1 }, 'single_chat'],
  ['a WeCom one-to-one chat', { scene: 1008, chatType: 2 }, 'single_chat'],
  ['Moments', { scene: 1154 }, 'timeline'],
  ['Moments, opened fully', { scene: 1155 }, 'timeline'],
  ['the list of mini-programs', { scene: 1001 }, 'not_from_group'],
  ['a QR code', { scene: 1047 }, 'not_from_group']
]) {
  test(`${what}: ${reason}, without any request`, async () => {
    const phone = new Phone(entry)
    assert.equal(await reasonOn(phone), reason)
    assert.deepEqual(phone.sent, [])
    assert.equal(phone.count('login'), 0)
  })
}

test('a group by its chat type is entered in any scene', async () => {
  const phone = new Phone({ scene: 1096, chatType: 3 })
  assert.equal((await phone.start().enter()).group.openGId, 'family')
})

for (const [status, code, reason] of [
  [409, 'not_a_group', 'single_chat'],
  [403, 'user_blocked', 'blocked'],
  [429, 'bind_locked', 'locked'],
  [429, 'throttled', 'unavailable'],
  [503, 'wechat_unavailable', 'unavailable'],
  [503, 'unavailable', 'unavailable'],
  [500, 'server_error', 'failed'],
  [400, 'invalid', 'failed']
]) {
  test(`the server's ${code} is the reason ${reason}, with the error`, async () => {
    const phone = new Phone().script('POST /groups/bind', errorResponse(status, code, { retryAfter: 30 }))
    const entry = await phone.start().enter()
    assert.equal(entry.group, null)
    assert.equal(entry.reason, reason)
    assert.equal(entry.error.code, code)
    assert.equal(entry.error.message, `${code} explained`)
    assert.deepEqual(entry.query, {})
  })
}

test('not_a_group is final: the server is not asked again', async () => {
  const phone = new Phone().script('POST /groups/bind', errorResponse(409, 'not_a_group'))
  const groups = phone.start()
  const first = await groups.enter()
  assert.equal(await groups.enter(), first)
})

test('a response without a group is unavailable', async () => {
  const phone = new Phone().script('POST /groups/bind', [200, { welcome: 'to the airport' }])
  assert.equal(await reasonOn(phone), 'unavailable')
})

test('a gateway page is unavailable', async () => {
  const phone = new Phone().script('POST /groups/bind', [502, '<html>Bad Gateway</html>'])
  assert.equal(await reasonOn(phone), 'unavailable')
})

for (const [error, reason] of [
  [{ errno: 104, errMsg: 'getGroupEnterInfo:fail' }, 'privacy_refused'],
  [{ errno: '103', errMsg: 'getGroupEnterInfo:fail' }, 'privacy_refused'],
  [{ errMsg: 'getGroupEnterInfo:fail privacy permission is not authorized' }, 'privacy_refused'],
  [{ errno: 112, errMsg: 'getGroupEnterInfo:fail' }, 'privacy_undeclared'],
  [{ errMsg: 'getGroupEnterInfo:fail api scope is not declared in the privacy agreement' }, 'privacy_undeclared'],
  [{ errMsg: 'getGroupEnterInfo:fail timeout' }, 'offline'],
  [{ errMsg: 'getGroupEnterInfo:fail network error' }, 'offline'],
  [{ errMsg: 'getGroupEnterInfo:fail internal error' }, 'failed'],
  [{ errMsg: 'getGroupEnterInfo:fail rid: 1652064' }, 'failed'],
  ['a bare string', 'failed']
]) {
  test(`${JSON.stringify(error)} is ${reason}`, async () => {
    const phone = new Phone(FROM_A_CARD).fail('getGroupEnterInfo', error)
    assert.equal(await reasonOn(phone), reason)
  })
}

test('after a refused privacy notice the other call is not made', async () => {
  const phone = new Phone().fail('getGroupEnterInfo', { errno: 104, errMsg: 'fail' })
  assert.equal(await reasonOn(phone), 'privacy_refused')
  assert.equal(phone.count('getShareInfo'), 0)
})

test('a refused log-in is the reason of the entry', async () => {
  const phone = new Phone().script('POST /login', errorResponse(403, 'user_blocked'))
  assert.equal(await reasonOn(phone), 'blocked')
})

test('below base library 2.17.3 there is one console warning, and unsupported in each entry', async t => {
  const warn = t.mock.method(console, 'warn', () => {})
  const phone = new Phone()
  phone.wx.getAppBaseInfo = undefined
  phone.wx.getSystemInfoSync = () => ({ SDKVersion: '2.9.4', language: 'zh_CN' })
  const groups = phone.start()
  assert.equal((await groups.enter()).reason, 'unsupported')
  assert.equal((await groups.enter()).reason, 'unsupported')
  assert.equal(warn.mock.callCount(), 1)
  assert.match(warn.mock.calls[0].arguments[0], /2\.17\.3/)
})

test('a phone without enter options is unsupported too', async t => {
  t.mock.method(console, 'warn', () => {})
  const phone = new Phone()
  delete phone.wx.getEnterOptionsSync
  phone.wx.getAppBaseInfo = () => ({ SDKVersion: '2.8.0' })
  const groups = phone.start()
  assert.equal((await groups.enter()).reason, 'unsupported')
  assert.equal(groups.share().path, '/')
})

for (const SDKVersion of ['2.17.3', '2.18', '3.0.0', '10.0.1', '', undefined]) {
  test(`base library ${SDKVersion} is supported`, async t => {
    const warn = t.mock.method(console, 'warn', () => {})
    const phone = new Phone()
    phone.wx.getAppBaseInfo = () => ({ SDKVersion })
    assert.equal((await phone.start().enter()).group.openGId, 'family')
    assert.equal(warn.mock.callCount(), 0)
  })
}
