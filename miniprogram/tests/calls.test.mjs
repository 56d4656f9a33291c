import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'

import { kit, Phone, errorResponse } from './phone.mjs'

/** Return the request that `call(groups)` makes, as method, path and body. */
async function requestOf (call) {
  const phone = new Phone()
  await call(phone.start())
  const { method, url, data } = phone.sent.at(-1)
  return [method, url.replace('https://site.example/api/v1', ''), data]
}

for (const [name, call, expected] of [
  ['me', groups => groups.me(), ['GET', '/me', undefined]],
  ['boards', groups => groups.boards(), ['GET', '/boards', undefined]],
  ['groups', groups => groups.groups({ cursor: 'a:b' }), ['GET', '/groups?cursor=a%3Ab', undefined]],
  ['ranking', groups => groups.ranking('tG_1-x'), ['GET', '/groups/tG_1-x/ranking', undefined]],
  ['ranking with a query', groups => groups.ranking('g', { board: 'points', period: '2026-W47', limit: 20, cursor: undefined }),
    ['GET', '/groups/g/ranking?board=points&period=2026-W47&limit=20', undefined]],
  ['around', groups => groups.around('g', { size: 3 }), ['GET', '/groups/g/ranking/around?size=3', undefined]],
  ['setNickname', groups => groups.setNickname('小明'), ['PUT', '/me', { nickname: '小明' }]],
  ['hide', groups => groups.hide('g'), ['PUT', '/groups/g/membership', { hidden: true }]],
  ['show again', groups => groups.hide('g', false), ['PUT', '/groups/g/membership', { hidden: false }]],
  ['leave', groups => groups.leave('g'), ['DELETE', '/groups/g/membership', undefined]],
  ['group', groups => groups.group('g/1'), ['GET', '/groups/g%2F1', undefined]],
  ['setAlias', groups => groups.setAlias('g', '老王'), ['PUT', '/groups/g/membership', { alias: '老王' }]],
  ['report', groups => groups.report('g', { member: 'm', reason: 'abuse' }), ['POST', '/groups/g/reports', { member: 'm', reason: 'abuse' }]],
  ['consent', groups => groups.consent(), ['GET', '/me/consent', undefined]],
  ['consent to a purpose', groups => groups.consent({ purposes: ['nickname'], version: '1' }), ['POST', '/me/consent', { purposes: ['nickname'], version: '1' }]],
  ['consent withdrawn', groups => groups.consent({ withdraw: 'avatar' }), ['DELETE', '/me/consent/avatar', undefined]],
  ['deleteMe', groups => groups.deleteMe(), ['DELETE', '/me', undefined]],
  ['logout everywhere', groups => groups.logout({ everywhere: true }), ['POST', '/logout', { everywhere: true }]],
  ['link', groups => groups.link('g'), ['POST', '/groups/g/link', {}]],
  ['link to a board', groups => groups.link('g', 'points'), ['POST', '/groups/g/link', { board: 'points' }]],
  ['request', groups => groups.request('me/data'), ['GET', '/me/data', undefined]],
  ['request with a body', groups => groups.request('/me/consent', { method: 'POST', data: { version: '1' } }), ['POST', '/me/consent', { version: '1' }]]
]) {
  test(`${name}: ${expected[0]} ${expected[1]}`, async () => {
    assert.deepEqual(await requestOf(call), expected)
  })
}

test('an openGId cannot leave its place in the path', async () => {
  const [, path] = await requestOf(groups => groups.ranking('../me?x=/#'))
  assert.equal(path, '/groups/..%2Fme%3Fx%3D%2F%23/ranking')
})

test('leave resolves to nothing', async () => {
  const phone = new Phone().script('DELETE /groups/g/membership', [204, ''])
  assert.equal(await phone.start().leave('g'), undefined)
})

// Scores

test('a score gets an idempotency key, or keeps the one it has', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.submitScore({ board: 'points', value: 5 })
  await groups.submitScore({ board: 'points', value: 5 })
  await groups.submitScore({ board: 'points', value: 5, openGId: 'g', idempotencyKey: 'round-7' })
  const [first, second, third] = phone.sent.slice(1).map(({ data }) => data)
  assert.match(first.idempotencyKey, /^[\w-]{16,64}$/)
  assert.notEqual(first.idempotencyKey, second.idempotencyKey)
  assert.deepEqual(third, { board: 'points', value: 5, openGId: 'g', idempotencyKey: 'round-7' })
})

test('a lost score is not retried automatically, but the error has the key to retry it', async () => {
  const phone = new Phone().script('POST /scores', { fail: { errMsg: 'request:fail timeout' } })
  const groups = phone.start()
  const score = { board: 'points', value: 5 }
  const { idempotencyKey } = await groups.submitScore(score).catch(error => error)
  assert.equal(phone.count('POST /scores'), 1)
  assert.deepEqual(score, { board: 'points', value: 5 })
  await groups.submitScore({ ...score, idempotencyKey })
  const [lost, retried] = phone.sent.slice(1).map(({ data }) => data)
  assert.deepEqual(lost, retried)
})

test('a score refused for its token is sent again, with the same key', async () => {
  const phone = new Phone()
  await phone.start().me()
  phone.revokeTokens()
  await phone.start().submitScore({ board: 'points', value: 5 })
  const [refused, retried] = phone.sent.filter(({ route }) => route === 'POST /scores').map(({ data }) => data)
  assert.deepEqual(refused, retried)
})

// The avatar

test('an avatar is uploaded with progress, and its response is parsed from text', async () => {
  const phone = new Phone().script('POST /me/avatar', [200, '{"avatar": "https://site.example/a.webp"}'])
  const progress = []
  const user = await phone.start().uploadAvatar('wxfile://tmp/a.jpg', { onProgress: percent => progress.push(percent) })
  assert.equal(user.avatar, 'https://site.example/a.webp')
  assert.deepEqual(progress, [30, 100])
  const { filePath, name, header } = phone.sent.at(-1)
  assert.deepEqual([filePath, name, header.authorization], ['wxfile://tmp/a.jpg', 'avatar', 'Bearer token-1'])
  assert.ok(!('content-type' in header), 'the phone adds the boundary itself')
})

test('an upload refused for its token is retried after one log-in', async () => {
  const phone = new Phone()
  const groups = phone.start()
  await groups.me()
  phone.revokeTokens()
  await groups.uploadAvatar('a.jpg')
  assert.equal(phone.count('POST /me/avatar'), 2)
  assert.equal(phone.count('login'), 2)
})

test('a failed upload is not retried automatically, but can be', async () => {
  const phone = new Phone().script('POST /me/avatar', { fail: { errMsg: 'uploadFile:fail timeout' } }, [413, '{"code": "too_large", "detail": "太大"}'])
  const groups = phone.start()
  await assert.rejects(groups.uploadAvatar('a.jpg'), { code: 'timeout' })
  await assert.rejects(groups.uploadAvatar('a.jpg'), { code: 'too_large', message: '太大' })
  await groups.uploadAvatar('a.jpg')
  assert.equal(phone.count('POST /me/avatar'), 3)
})

test('a missing file is not reported as a missing network', async () => {
  const phone = new Phone().script('POST /me/avatar', { fail: { errMsg: 'uploadFile:fail file not found' } })
  await assert.rejects(phone.start().uploadAvatar('a.jpg'), { code: 'wx_fail' })
})

test('a phone without an upload task uploads without progress', async () => {
  const phone = new Phone()
  const { uploadFile } = phone.wx
  phone.wx.uploadFile = options => { uploadFile(options) }
  await phone.start().uploadAvatar('a.jpg', { onProgress: () => assert.fail('there is no progress') })
})

// Sharing

test('share returns what WeChat accepts and nothing else', async () => {
  const groups = new Phone().start()
  const card = groups.share({ title: '看看排行', path: '/pages/rank?tab=1', query: { from: '小明', n: 2 }, imageUrl: '/a.png' })
  assert.deepEqual(card, { title: '看看排行', path: '/pages/rank?tab=1&from=%E5%B0%8F%E6%98%8E&n=2', imageUrl: '/a.png' })
  assert.deepEqual(Object.keys(groups.share({ path: '/a' })), ['path'])
})

test('share without a path shares the open page', () => {
  const phone = new Phone({ scene: 1001, path: 'pages/first' })
  assert.equal(phone.start().share().path, '/pages/first')
  globalThis.getCurrentPages = () => [{ route: 'pages/first' }, { route: 'pages/second' }]
  try {
    assert.equal(phone.start().share({ query: { a: 1 } }).path, '/pages/second?a=1')
  } finally {
    delete globalThis.getCurrentPages
  }
})

function attributesOf (options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => typeof value !== 'function'))
}

test('share tickets are enabled by the attribute alone, and a failure to do so is ignored', async () => {
  const phone = new Phone().fail('updateShareMenu', { errMsg: 'fail no page' }, { errMsg: 'fail no page' })
  const enabled = []
  const { updateShareMenu } = phone.wx
  phone.wx.updateShareMenu = options => { enabled.push(options); updateShareMenu(options) }
  const groups = phone.start()
  await groups.enter()
  groups.share({ path: '/a' })
  await groups.me()
  assert.deepEqual(enabled.map(attributesOf), [{ withShareTicket: true }, { withShareTicket: true }])
  assert.equal(phone.count('showShareMenu'), 0, 'an app that hid its menu keeps it hidden')
})

test('an app that asks for menus gets them, with share tickets', async () => {
  const phone = new Phone()
  const shown = []
  phone.wx.showShareMenu = options => { shown.push(options) }
  await phone.start({ menus: ['shareAppMessage', 'shareTimeline'] }).enter()
  assert.deepEqual(shown.map(attributesOf), [{ withShareTicket: true, menus: ['shareAppMessage', 'shareTimeline'] }])
})

// Errors, and the kit as a whole

test('every error is a GroupsError with a code and a message', async () => {
  const phone = new Phone().script('GET /me', errorResponse(404, 'not_found'))
  const error = await phone.start().me().catch(error => error)
  assert.ok(error instanceof kit.GroupsError && error instanceof Error)
  assert.equal(error.name, 'GroupsError')
  assert.equal(error.message, 'not_found explained')
  assert.equal(typeof error.stack, 'string')
})

test('components find the client that was created last under a name', () => {
  const groups = new Phone().start()
  assert.equal(kit.findClient().groups, groups)
  const next = new Phone().start()
  const other = new Phone().start({ name: 'other' })
  assert.equal(kit.findClient().groups, next)
  assert.equal(kit.findClient('other').groups, other)
  assert.equal(kit.findClient('other').phone, other.phone)
})

test('a client that is not there is an error that says what to do', () => {
  assert.throws(() => kit.findClient('unknown'), error => error instanceof kit.GroupsError && /createGroups/.test(error.message))
})

test('a client made by one copy of the module is found by another, by its name on the app', () => {
  const app = {}
  globalThis.getApp = options => options && options.allowDefault ? app : undefined
  try {
    const copy = anotherCopy()
    const groups = new Phone().start({ name: 'shared' })
    assert.notEqual(copy.createGroups, kit.createGroups)
    assert.equal(copy.findClient('shared').groups, groups)
    assert.equal(app.shared, groups)
    assert.equal(copy.findClient('shared').phone.language, 'zh')
  } finally {
    delete globalThis.getApp
  }
})

test('an error of another copy of the module stays as it is', async () => {
  const phone = new Phone()
  const error = new (anotherCopy().GroupsError)('get_token', 'from the other copy')
  await assert.rejects(phone.start({ getToken: () => Promise.reject(error) }).me(), thrown => thrown === error)
})

function anotherCopy () {
  const require = createRequire(import.meta.url)
  const file = require.resolve('../groups/index.js')
  const kept = require.cache[file]
  delete require.cache[file]
  const copy = require(file)
  require.cache[file] = kept
  return copy
}

test('wx defaults to the global one', () => {
  globalThis.wx = new Phone().wx
  try {
    assert.ok(kit.createGroups({ baseUrl: 'https://site.example' }).enter)
  } finally {
    delete globalThis.wx
  }
})
