/**
 * Test the kit against a real site and a real sandbox: `wx` calls the sandbox as a phone calls
 * WeChat, and sends real requests. e2e/test_kit.py starts both; without them these tests are skipped.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { kit } from './phone.mjs'

const { SITE_URL, SANDBOX_URL, APP_ID, APP_SECRET, SERVER_KEY } = process.env
const skip = !SITE_URL && 'no site: run it with `make e2e`'

class Phone {
  constructor (person) {
    this.person = person
    this.storage = new Map()
    this.responses = []
    this.active = 0
    this.maxActive = 0
    this.logins = 0
    this.launch = { scene: 1001, query: {} }
    this.wx = this.makeWx()
  }

  start (options = {}) {
    return kit.createGroups({ baseUrl: SITE_URL, wx: this.wx, ...options })
  }

  async openCard (chat, card = {}) {
    this.launch = await this.callSandbox('open-card', { chat, ...card })
    return this
  }

  /** Call the sandbox's API for phones; rejects as `wx` fails. */
  async callSandbox (call, more = {}) {
    const app = ['join', 'leave'].includes(call) ? {} : { appid: APP_ID }
    const response = await send('POST', `${SANDBOX_URL}/phone/${call}`, { person: this.person, ...app, ...more })
    if (response.statusCode !== 200) throw response.data
    return response.data
  }

  makeWx () {
    const callback = (call, argument = () => ({})) => options => {
      this.callSandbox(call, argument(options)).then(options.success, options.fail)
    }
    const login = callback('login')
    return {
      login: options => { this.logins += 1; login(options) },
      getGroupEnterInfo: callback('group-enter-info'),
      getShareInfo: callback('share-info', ({ shareTicket }) => ({ shareTicket })),
      request: options => { this.run(options, () => send(options.method, options.url, options.data, options.header)) },
      uploadFile: options => { this.run(options, () => upload(options)) },
      showShareMenu () {},
      getEnterOptionsSync: () => this.launch,
      getAccountInfoSync: () => ({ miniProgram: { appId: APP_ID, envVersion: 'develop' } }),
      getAppBaseInfo: () => ({ SDKVersion: '3.7.12', language: 'zh_CN' }),
      getStorageSync: key => this.storage.get(key) ?? '',
      setStorageSync: (key, value) => { this.storage.set(key, value) },
      removeStorageSync: key => { this.storage.delete(key) }
    }
  }

  async run ({ url, method = 'POST', success, fail }, work) {
    this.active += 1
    this.maxActive = Math.max(this.maxActive, this.active)
    const response = await work().catch(cause => ({ errMsg: `request:fail ${cause.cause?.code}` }))
    this.active -= 1
    this.responses.push(`${method} ${new URL(url).pathname.replace('/api/v1', '')} ${response.statusCode}`)
    if (response.statusCode) success(response)
    else fail(response)
  }

  count (response) {
    return this.responses.filter(one => one === response).length
  }

  get token () {
    return [...this.storage.values()][0]
  }

  /** Revoke the token without the kit's knowledge. */
  async revokeToken () {
    const response = await send('POST', `${SITE_URL}/api/v1/logout`, {}, { authorization: `Bearer ${this.token}` })
    assert.equal(response.statusCode, 204)
  }
}

async function send (method, url, data, header = {}) {
  const body = data === undefined ? undefined : JSON.stringify(data)
  const response = await fetch(url, { method, body, headers: { 'content-type': 'application/json', ...header } })
  return toWxResponse(response, text => text && JSON.parse(text))
}

async function upload ({ url, filePath, name, header }) {
  const body = new FormData()
  body.append(name, new Blob([readFileSync(filePath)], { type: 'image/png' }), 'avatar.png')
  return toWxResponse(await fetch(url, { method: 'POST', body, headers: header }), text => text)
}

async function toWxResponse (response, decode) {
  const data = decode(await response.text())
  return { statusCode: response.status, data, header: Object.fromEntries(response.headers), errMsg: 'request:ok' }
}

const GREEN = 'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mMUWWDDgA0wMeAAg1MCAMCAAQC5ntTYAAAAAElFTkSuQmCC'
const BLUE = 'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mMUsVnAgA0wMeAAg1MCAMAcAQBf8GdwAAAAAElFTkSuQmCC'

/** Write a picture of 8 by 8 pixels to a temporary file, as WeChat does. */
function picture (png) {
  const file = join(tmpdir(), `groupsite-${process.pid}.png`)
  writeFileSync(file, png, 'base64')
  return file
}

const site = (name, work) => test(name, { skip }, work)

site('Alice and Bob open a card in their group, and see each other on its ranking', async () => {
  const alice = await new Phone('alice').openCard('family', { query: { from: 'bob' } })
  const bob = await new Phone('bob').openCard('family')
  const aliceGroups = alice.start()
  const entry = await aliceGroups.enter()
  assert.equal(entry.created, true)
  assert.deepEqual(entry.query, { from: 'bob' })
  await aliceGroups.setNickname('小明')
  const bobGroups = bob.start()
  const { group } = await bobGroups.enter()
  assert.equal(group.openGId, entry.group.openGId)
  assert.equal(group.memberCount, 2)
  const ranking = await bobGroups.ranking(group.openGId)
  assert.deepEqual(ranking.entries.map(({ isMe }) => isMe), [false, true])
  assert.equal(ranking.entries[0].member.nickname, '小明')
  assert.equal(ranking.me.score, 1)
})

site('a card opened before the first log-in is bound on the first attempt', async () => {
  const phone = await new Phone('early').openCard('family')
  await phone.start().enter()
  assert.deepEqual(phone.responses, ['POST /login 200', 'POST /groups/bind 201'])
})

site('a phone that only has getShareInfo enters', async () => {
  const phone = await new Phone('old-phone').openCard('family')
  delete phone.wx.getGroupEnterInfo
  assert.equal((await phone.start().enter()).group.memberCount > 0, true)
})

site('a card without a ticket enters', async () => {
  const phone = await new Phone('ticketless').openCard('family', { scene: 1008 })
  assert.ok((await phone.start().enter()).group)
})

site('data without a watermark enters', async () => {
  const phone = await new Phone('unmarked').openCard('family')
  phone.wx.getGroupEnterInfo = ({ success, fail }) => {
    phone.callSandbox('group-enter-info', { watermark: false }).then(success, fail)
  }
  assert.ok((await phone.start().enter()).group)
})

site('two enters at the same time bind once', async () => {
  const phone = await new Phone('twice').openCard('family')
  const groups = phone.start()
  const [first, second] = await Promise.all([groups.enter(), groups.enter(phone.launch)])
  assert.equal(first, second)
  assert.equal(phone.responses.length, 2)
})

site('a one-to-one chat is not a group, whether the phone or the server finds out', async () => {
  const phone = new Phone('alone')
  phone.launch = await phone.callSandbox('open-single')
  assert.equal((await phone.start().enter()).reason, 'single_chat')
  assert.deepEqual(phone.responses, [])
  phone.launch = { scene: 1008, query: {} }
  assert.equal((await phone.start().enter()).reason, 'single_chat')
  assert.equal(phone.count('POST /groups/bind 409'), 1)
})

site('a member who left the group gets the reason left_group', async () => {
  const phone = await new Phone('gone').openCard('family')
  await phone.callSandbox('leave', { chat: 'family' })
  assert.equal((await phone.start().enter()).reason, 'left_group')
})

site('after a log-in elsewhere the kit logs in again and binds with new data', async () => {
  const phone = await new Phone('rotated').openCard('family')
  const groups = phone.start()
  await groups.me()
  await phone.callSandbox('login')
  assert.ok((await groups.enter()).group)
  assert.deepEqual(phone.responses.filter(response => response.includes('POST')), [
    'POST /login 200', 'POST /groups/bind 409', 'POST /login 200', 'POST /groups/bind 201'
  ])
})

site('ten refused calls make one log-in', async () => {
  const phone = new Phone('refused')
  const groups = phone.start()
  await groups.me()
  await phone.revokeToken()
  await Promise.all(Array.from({ length: 10 }, () => groups.me()))
  assert.equal(phone.logins, 2)
  assert.ok(phone.count('GET /me 401') >= 6)
})

site('ten calls of a new phone, enter among them, make one log-in', async () => {
  const phone = await new Phone('eager').openCard('family')
  const groups = phone.start()
  await Promise.all([groups.enter(), ...Array.from({ length: 9 }, () => groups.me())])
  assert.equal(phone.logins, 1)
})

site('of 25 calls at once six run at a time', async () => {
  const phone = new Phone('busy')
  const groups = phone.start()
  await groups.me()
  await Promise.all(Array.from({ length: 25 }, () => groups.boards()))
  assert.equal(phone.count('GET /boards 200'), 25)
  assert.equal(phone.maxActive, 6)
})

site('the token of an earlier start is used by the next', async () => {
  const phone = await new Phone('faithful').openCard('family')
  await phone.start().me()
  assert.ok((await phone.start().enter()).group)
  assert.equal(phone.logins, 1)
})

site('Dora hides, shows herself again, and leaves', async () => {
  const dora = await new Phone('dora').openCard('chess')
  const erik = await new Phone('erik').openCard('chess')
  const doraGroups = dora.start()
  const erikGroups = erik.start()
  const { group: { openGId } } = await doraGroups.enter()
  await erikGroups.enter()
  const listed = async groups => (await groups.ranking(openGId)).total
  assert.equal((await doraGroups.hide(openGId)).hidden, true)
  assert.equal(await listed(erikGroups), 1)
  assert.equal((await doraGroups.ranking(openGId)).absent, 'hidden')
  assert.equal((await doraGroups.hide(openGId, false)).hidden, false)
  assert.equal(await listed(erikGroups), 2)
  assert.equal((await doraGroups.around(openGId, { size: 1 })).entries.length, 2)
  assert.equal((await doraGroups.groups()).groups[0].openGId, openGId)
  assert.equal(await doraGroups.leave(openGId), undefined)
  await assert.rejects(doraGroups.ranking(openGId), { code: 'not_found', status: 404 })
  assert.deepEqual((await doraGroups.groups()).groups, [])
})

site('a ranking is loaded page by page', async () => {
  const people = await Promise.all(['p1', 'p2', 'p3'].map(name => new Phone(name).openCard('pages')))
  const entries = await Promise.all(people.map(phone => phone.start().enter()))
  const groups = people[0].start()
  const { openGId } = entries[0].group
  const first = await groups.ranking(openGId, { limit: 2, period: 'week', board: 'active-days' })
  const second = await groups.ranking(openGId, { limit: 2, period: 'week', cursor: first.next })
  assert.equal(new Set([...first.entries, ...second.entries].map(({ member }) => member.id)).size, 3)
  assert.equal(second.next, null)
  await assert.rejects(groups.ranking(openGId, { limit: 1000 }), { code: 'invalid' })
})

site('a score sent twice with one key counts once', async () => {
  const phone = await new Phone('scorer').openCard('games')
  const groups = phone.start()
  const { group: { openGId } } = await groups.enter()
  const [board] = (await groups.boards()).boards.filter(({ key }) => key === 'points')
  assert.equal(board.writer, 'client')
  await groups.submitScore({ board: 'points', value: 5, idempotencyKey: 'round-1' })
  const { periods } = await groups.submitScore({ board: 'points', value: 5, idempotencyKey: 'round-1' })
  assert.ok(periods.every(({ value }) => value === 5))
  await groups.submitScore({ board: 'points', value: 4 })
  assert.equal((await groups.ranking(openGId, { board: 'points' })).me.score, 9)
})

site('a link opens the web page', async () => {
  const phone = await new Phone('linker').openCard('family')
  const groups = phone.start()
  const { group } = await groups.enter()
  const { url, expiresAt } = await groups.link(group.openGId, 'active-days')
  assert.ok(Date.parse(expiresAt) > Date.now())
  assert.equal((await fetch(url)).status, 200)
})

site('a refused nickname has a reason and changes nothing', async () => {
  const phone = new Phone('namer')
  const groups = phone.start()
  await groups.setNickname('李雷')
  await assert.rejects(groups.setNickname('违规名字'), error => {
    assert.equal(error.code, 'invalid')
    assert.ok(error.fields.nickname[0])
    return true
  })
  assert.equal((await groups.me()).nickname, '李雷')
  assert.equal((await groups.setNickname('存疑名字')).nicknameState, 'pending')
})

site('an avatar is uploaded, and again after the token was revoked', async () => {
  const phone = new Phone('painter')
  const groups = phone.start()
  const before = (await groups.me()).avatar
  const user = await groups.uploadAvatar(picture(GREEN))
  assert.notEqual(user.avatar, before)
  assert.equal(user.avatarState, 'pending')
  assert.equal((await fetch(user.avatar)).headers.get('content-type'), 'image/webp')
  await phone.revokeToken()
  await groups.uploadAvatar(picture(BLUE))
  assert.equal(phone.count('POST /me/avatar 401'), 1)
  assert.equal(phone.logins, 2)
})

site('a file that is not a picture is refused', async () => {
  const file = join(tmpdir(), `groupsite-${process.pid}.txt`)
  writeFileSync(file, 'hello')
  await assert.rejects(new Phone('vandal').start().uploadAvatar(file), { code: 'invalid', status: 400 })
})

site('deleteMe deletes everything, and the next call makes a new account', async () => {
  const phone = await new Phone('quitter').openCard('family')
  const groups = phone.start()
  const { group: { openGId } } = await groups.enter()
  const { id } = await groups.me()
  await groups.deleteMe()
  assert.equal(phone.storage.size, 0)
  assert.notEqual((await groups.me()).id, id)
  await assert.rejects(groups.ranking(openGId), { code: 'not_found' })
  assert.equal((await groups.request('/me/data')).memberships.length, 0)
})

site('your own back end opens sessions with its server key', async () => {
  const phone = await new Phone('employee').openCard('office')
  const reasons = []
  const getToken = async reason => {
    reasons.push(reason)
    const { code } = await phone.callSandbox('login')
    const query = new URLSearchParams({ appid: APP_ID, secret: APP_SECRET, js_code: code, grant_type: 'authorization_code' })
    const { data } = await send('GET', `${SANDBOX_URL}/sns/jscode2session?${query}`)
    const session = { openid: data.openid, sessionKey: data.session_key }
    return (await send('POST', `${SITE_URL}/api/v1/server/sessions`, session, { authorization: `Key ${SERVER_KEY}` })).data.token
  }
  const groups = phone.start({ getToken })
  await groups.me()
  await phone.callSandbox('login')
  assert.ok((await groups.enter()).group)
  await phone.revokeToken()
  await groups.me()
  assert.deepEqual(reasons, ['start', 'stale', 'expired'])
  assert.equal(phone.count('POST /login 200'), 0)
})

site('too many envelopes that cannot be decrypted lock binding for a while', async () => {
  const phone = await new Phone('forger').openCard('family')
  const groups = phone.start()
  const forged = { encryptedData: Buffer.alloc(64).toString('base64'), iv: Buffer.alloc(16).toString('base64') }
  for (let time = 0; time < 10; time += 1) {
    await assert.rejects(groups.request('/groups/bind', { method: 'POST', data: forged }), { code: 'session_stale' })
  }
  const entry = await groups.enter()
  assert.equal(entry.reason, 'locked')
  assert.ok(entry.error.retryAfter > 60)
})

site('while WeChat is down the reason is unavailable; later entering works', async () => {
  const phone = await new Phone('patient').openCard('family')
  const groups = phone.start()
  await send('POST', `${SANDBOX_URL}/phone/faults`, { path: '/sns/jscode2session', fault: { errcode: 45009 } })
  const entry = await groups.enter()
  assert.equal(entry.reason, 'unavailable')
  assert.ok(entry.error.retryAfter > 0)
  assert.ok((await groups.enter()).group)
})

site('without a server the reason is offline', async () => {
  const phone = await new Phone('hermit').openCard('family')
  assert.equal((await phone.start({ baseUrl: 'http://127.0.0.1:9' }).enter()).reason, 'offline')
})

site('errors are in the language of the phone', async () => {
  const phone = new Phone('traveller')
  phone.wx.getAppBaseInfo = () => ({ SDKVersion: '3.7.12', language: 'en' })
  const english = await phone.start().ranking('tGnowhere').catch(error => error)
  phone.wx.getAppBaseInfo = () => ({ SDKVersion: '3.7.12', language: 'zh_CN' })
  const chinese = await phone.start().ranking('tGnowhere').catch(error => error)
  assert.match(english.message, /^[A-Z]/)
  assert.match(chinese.message, /[\u4e00-\u9fff]/)
  assert.ok(english.requestId)
})
