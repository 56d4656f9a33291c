/** Use every typing together with the official `wx`; `npm run lint` checks this file, nothing runs it. */
import {
  createGroups,
  GroupsError,
  type Entry,
  type Group,
  type Groups,
  type Ranking,
  type RankingEntry,
  type Reason,
  type Transport,
  type User
} from '../groups/index'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const assertType = <_Claim extends true>(): void => {}

// Creating a client

const groups: Groups = createGroups({ baseUrl: 'https://groups.example.com', wx })

createGroups({ baseUrl: 'https://groups.example.com' })
createGroups({
  baseUrl: { develop: 'http://127.0.0.1:8000', trial: 'https://trial.example.com', release: 'https://example.com' },
  appid: 'wx0123456789abcdef',
  getToken: async reason => {
    assertType<Equal<typeof reason, 'start' | 'expired' | 'stale'>>()
    return 'token'
  }
})

// @ts-expect-error baseUrl is required
createGroups({})
// @ts-expect-error every environment needs a server
createGroups({ baseUrl: { release: 'https://example.com' } })
// @ts-expect-error there is no such option
createGroups({ baseUrl: '', timeout: 3 })
// @ts-expect-error a token is a string
createGroups({ baseUrl: '', getToken: async () => 42 })
// @ts-expect-error this is not a wx
createGroups({ baseUrl: '', wx: {} })

const cloud: Transport = async ({ url, method, header, data, timeout }) => {
  const response = await wx.cloud.callContainer({ path: url, method, header, data: data as Record<string, unknown>, timeout })
  return { statusCode: response.statusCode, data: response.data, header: response.header }
}
createGroups({ baseUrl: 'https://groups.example.com', transport: cloud })

// Entering, with the options of App.onShow and getEnterOptionsSync

App({
  onShow (options) {
    groups.enter(options)
  }
})

async function enter (): Promise<void> {
  const entry: Entry = await groups.enter()
  await groups.enter(wx.getEnterOptionsSync())
  await groups.enter(wx.getLaunchOptionsSync())
  assertType<Equal<typeof entry.query, Record<string, string | undefined>>>()
  if (entry.group) {
    assertType<Equal<typeof entry.group.openGId, string>>()
    assertType<Equal<typeof entry.created, boolean>>()
    const { hidden, aliasState } = entry.group.membership
    assertType<Equal<typeof hidden, boolean>>()
    assertType<Equal<typeof aliasState, 'approved' | 'pending' | 'refused'>>()
  } else {
    const why: string = explain(entry.reason)
    const wait: number | undefined = entry.error?.retryAfter
    console.log(why, wait)
  }
}

/** Handle every reason; a reason added to or removed from the typings is an error here. */
function explain (reason: Reason): string {
  switch (reason) {
    case 'single_chat':
    case 'left_group':
    case 'no_ticket':
    case 'not_from_group':
    case 'timeline':
    case 'offline':
    case 'privacy_refused':
    case 'privacy_undeclared':
    case 'blocked':
    case 'locked':
    case 'unavailable':
    case 'unsupported':
    case 'failed':
      return reason
  }
}

// Every call

async function call (openGId: string): Promise<void> {
  const mine = await groups.groups()
  await groups.groups({ cursor: mine.next ?? undefined })
  const me: User = await groups.me()
  const { boards } = await groups.boards()
  const board = boards[0]!
  assertType<Equal<typeof board.writer, 'server' | 'client'>>()
  const ranking: Ranking = await groups.ranking(openGId)
  await groups.ranking(openGId, { board: board.key, period: '2026-W47', limit: 20, cursor: ranking.next ?? undefined })
  const near = await groups.around(openGId, { board: 'points', period: 'all', size: 3 })
  assertType<Equal<typeof near, Ranking>>()
  near.entries.forEach(show)
  const { periods } = await groups.submitScore({ board: 'points', value: 3 })
  await groups.submitScore({ board: 'points', value: 3, openGId, idempotencyKey: 'round-7' })
  periods.map(({ key, value, changed }) => [key, value, changed])
  const renamed: User = await groups.setNickname(me.nickname)
  const drawn: User = await groups.uploadAvatar('wxfile://tmp/a.jpg', { onProgress: percent => percent.toFixed() })
  assertType<Equal<typeof renamed.profileComplete & typeof drawn.profileComplete, boolean>>()
  const { hidden } = await groups.hide(openGId)
  await groups.hide(openGId, !hidden)
  const { url, expiresAt } = await groups.link(openGId, 'points')
  await groups.link(openGId)
  console.log(url, expiresAt)
  const group: Group = await groups.group(openGId)
  const { alias } = await groups.setAlias(openGId, group.title)
  const { consents } = await groups.consent()
  await groups.consent({ purposes: ['nickname', 'avatar'], version: alias })
  await groups.consent({ withdraw: consents[0]!.purpose })
  await groups.report(openGId, { member: me.id, reason: 'advert' })
  const stop: void = groups.onOnline(() => {})()
  const nothing = [await groups.leave(openGId), await groups.logout({ everywhere: true }), await groups.deleteMe(), stop]
  assertType<Equal<typeof nothing, void[]>>()
  const data = await groups.request<{ scores: unknown[] }>('/me/data')
  data.scores.length.toFixed()
  await groups.request('/me/consent', { method: 'POST', data: { version: '1', purposes: ['groups'] } })
  // @ts-expect-error wx.request has no PATCH
  await groups.request('/me', { method: 'PATCH' })
  // @ts-expect-error a score is a number
  await groups.submitScore({ board: 'points', value: '3' })
}

function show ({ rank, movement, score, isMe }: RankingEntry): string {
  if (rank === null || score === null) return '–'
  const move = movement === 'new' ? '新' : movement === null ? '' : movement.toFixed()
  return `${rank.toFixed()} ${move} ${score.toFixed()} ${isMe ? '我' : ''}`
}

// Sharing: share() gives what onShareAppMessage may return

Page({
  onShareAppMessage () {
    return groups.share({ title: '看看群排行', path: '/pages/rank/index', query: { board: 'points', n: 1 } })
  }
})
assertType<Equal<keyof ReturnType<Groups['share']>, 'title' | 'path' | 'imageUrl'>>()

// Errors

async function fail (): Promise<void> {
  try {
    await groups.me()
  } catch (error) {
    if (!(error instanceof GroupsError)) throw error
    const { code, message, status, requestId, fields, retryAfter, errMsg, errno, idempotencyKey } = error
    console.log(code.length, message, status, requestId, fields?.nickname, retryAfter, errMsg, errno, idempotencyKey)
  }
}

export { call, enter, fail }
