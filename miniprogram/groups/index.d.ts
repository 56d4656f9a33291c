/** A client of one groupsite server, for WeChat mini-programs from base library 2.17.3. */

/** The server's address, with or without `/api/v1`: one for all, or one for each `envVersion`. */
export type BaseUrl = string | { develop: string; trial: string; release: string }

export interface Options {
  baseUrl: BaseUrl
  /** Where the server knows several mini-programs; else what `wx.getAccountInfoSync` says. */
  appid?: string
  /** The global `wx`, unless a test or a framework passes its own. */
  wx?: Wx
  /**
   * For teams whose own back end logs in (`server/sessions`): resolves to groupsite's token.
   * Called instead of `wx.login`, by one caller at a time.
   */
  getToken?: (reason: TokenReason) => Promise<string>
  /** Replaces `wx.request`, for example by `wx.cloud.callContainer`. */
  transport?: Transport
}

/** `start`: there is no token yet; `expired`: the server refused it; `stale`: `session_stale`. */
export type TokenReason = 'start' | 'expired' | 'stale'

export interface TransportRequest {
  url: string
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  header: Record<string, string>
  data?: unknown
  /** Milliseconds. */
  timeout: number
}

/** Resolves whatever the status; rejects, as `wx.request` fails, where no answer came. */
export type Transport = (
  request: TransportRequest
) => Promise<{ statusCode: number; data: unknown; header?: Record<string, string> }>

/** The part of `wx` that the kit uses. Any object that has it will do. */
export interface Wx {
  login(options: any): unknown
  request(options: any): unknown
  uploadFile(options: any): unknown
  getEnterOptionsSync(): EnterOptions
  getShareInfo(options: any): unknown
  getGroupEnterInfo?(options: any): unknown
  getAccountInfoSync(): { miniProgram: { appId: string; envVersion: string } }
  /** Tells the base library's version and the phone's language; before 2.20.1 the older one. */
  getAppBaseInfo?(): { SDKVersion?: string; language?: string }
  getSystemInfoSync?(): { SDKVersion?: string; language?: string }
  getStorageSync(key: string): any
  setStorageSync(key: string, value: any): void
  removeStorageSync(key: string): void
  showShareMenu(options: any): unknown
  onAppHide?(listener: () => void): void
  /** For `<group-profile>`. */
  getPrivacySetting?(options: any): unknown
  requirePrivacyAuthorize?(options: any): unknown
  openPrivacyContract?(options: any): unknown
}

/** What `wx.getEnterOptionsSync` and `App.onShow` give. */
export interface EnterOptions {
  scene: number
  path?: string
  query?: Record<string, string | undefined>
  shareTicket?: string
  chatType?: number
}

/** Why an entry has no group. */
export type Reason =
  /** Opened from a chat of two. */
  | 'single_chat'
  /** The member is not in that group any more. */
  | 'left_group'
  /** From a chat, but WeChat does not say which. */
  | 'no_ticket'
  /** Not from a chat at all: search, a QR code, the list of mini-programs … */
  | 'not_from_group'
  /** From Moments, where nobody can log in. */
  | 'timeline'
  | 'offline'
  | 'privacy_refused'
  /** The mini-program's privacy notice (用户隐私保护指引) lacks the call. */
  | 'privacy_undeclared'
  /** An operator has blocked the member. */
  | 'blocked'
  /** Too much encrypted data did not open: wait `error.retryAfter`. */
  | 'locked'
  /** The server, or WeChat behind it, is busy or down. */
  | 'unavailable'
  /** A base library below 2.17.3. */
  | 'unsupported'
  /** Anything else; see `error`. */
  | 'failed'

export type Entry =
  /** `created`: was not a member just before. */
  | { group: Group; created: boolean; query: Query; reason?: undefined; error?: undefined }
  /** `error` says more where something failed. Asking again (`enter()`) is always allowed. */
  | { group: null; reason: Reason; query: Query; error?: GroupsError; created?: undefined }

/** The opened card's, as WeChat gives it. */
export type Query = Record<string, string | undefined>

export interface User {
  id: string
  nickname: string
  nicknameState: ReviewState
  /** An absolute URL. */
  avatar: string
  avatarState: ReviewState
  profileComplete: boolean
}

export type ReviewState = 'approved' | 'pending' | 'refused'

export interface Membership {
  joinedAt: string
  verifiedAt: string
  hidden: boolean
  alias: string
  aliasState: ReviewState
}

export interface GroupHead {
  openGId: string
  title: string
  memberCount: number
}

export interface Group extends GroupHead {
  membership: Membership
}

export type Order = 'desc' | 'asc'
export type Scope = 'app' | 'group'
export type Window = 'day' | 'week' | 'month' | 'all'

export interface BoardHead {
  key: string
  title: string
  order: Order
  unit: string
  decimals: number
  scope: Scope
}

export interface Board extends BoardHead {
  policy: 'best' | 'latest' | 'sum'
  rankStyle: 'competition' | 'dense' | 'ordinal'
  windows: Window[]
  defaultWindow: Window
  /** Who may submit: only your server, or the mini-program too. */
  writer: 'server' | 'client'
}

export interface Period {
  key: string
  window: Window
  title: string
  start: string | null
  /** Exclusive. */
  end: string | null
  previous: string | null
  next: string | null
}

export interface RankingEntry {
  rank: number | null
  /** Positive is up. */
  movement: number | 'new' | null
  member: { id: string; nickname: string; avatar: string }
  score: number | null
  scoreText: string | null
  achievedAt: string | null
  isMe: boolean
}

export interface Ranking {
  group: GroupHead
  board: BoardHead
  period: Period
  serverTime: string
  total: number
  percentile: number | null
  entries: RankingEntry[]
  me: RankingEntry | null
  absent: 'hidden' | null
  next: string | null
}

export interface RankingQuery {
  board?: string
  /** `day`, `week`, `month`, `all`, or a key such as `2026-W47`. */
  period?: string
  /** 1 … 100. */
  limit?: number
  cursor?: string
}

export interface Submission {
  board: string
  value: number
  /** For boards of scope `group`. */
  openGId?: string
  /** Made by the kit where there is none; where the call fails the error has it. */
  idempotencyKey?: string
}

export interface Submitted {
  board: string
  periods: { key: string; value: number; changed: boolean }[]
}

export interface Upload {
  /** 0 … 100. */
  onProgress?: (percent: number) => void
}

export interface ShareOptions {
  title?: string
  /** A page, with or without a query; the page that is open where there is none. */
  path?: string
  query?: Record<string, string | number>
  imageUrl?: string
}

/** Everything that goes wrong is one of these. `message` is for people, in the phone's language. */
export class GroupsError extends Error {
  /**
   * The server's (docs/errors.md), or the kit's own: `offline`, `timeout`, `interrupted`,
   * `bad_answer`, `domain_not_listed`, `left_group`, `not_from_group`, `privacy_refused`,
   * `privacy_undeclared`, `unsupported`, `get_token`, `wx_fail`, and `http_502` and the like for
   * answers that are not the server's.
   */
  code: string
  status?: number
  requestId?: string
  fields?: Record<string, string[]>
  /** Seconds. */
  retryAfter?: number
  /** As the `wx` call gave it. */
  errMsg?: string
  errno?: number
  /** After `submitScore`: pass it again to repeat safely. */
  idempotencyKey?: string
}

export interface Groups {
  /** Which group this opening of the mini-program came from. Never rejects. */
  enter(options?: EnterOptions): Promise<Entry>
  groups(query?: { cursor?: string }): Promise<{ groups: Group[]; next: string | null }>
  me(): Promise<User>
  boards(): Promise<{ boards: Board[] }>
  ranking(openGId: string, query?: RankingQuery): Promise<Ranking>
  around(
    openGId: string,
    query?: { board?: string; period?: string; size?: number }
  ): Promise<Ranking>
  submitScore(submission: Submission): Promise<Submitted>
  setNickname(nickname: string): Promise<User>
  /** `filePath`: what `chooseAvatar` gave. */
  uploadAvatar(filePath: string, upload?: Upload): Promise<User>
  hide(openGId: string, hidden?: boolean): Promise<Membership>
  leave(openGId: string): Promise<void>
  link(openGId: string, board?: string): Promise<{ url: string; expiresAt: string }>
  /** What `onShareAppMessage` returns; the card it makes carries a shareTicket. */
  share(options?: ShareOptions): { title?: string; path: string; imageUrl?: string }
  /** Erases me on the server and forgets the session here. */
  deleteMe(): Promise<void>
  /** Any call of the API, with log-in and errors as above: `request('/me/data')`. */
  request<T = unknown>(
    path: string,
    options?: { method?: 'GET' | 'POST' | 'PUT' | 'DELETE'; data?: object }
  ): Promise<T>
}

export function createGroups(options: Options): Groups

/** For the kit's own components: the client made last. Throws where there is none. */
export function inUse(): {
  groups: Groups
  phone: {
    wx: Wx
    language: 'zh' | 'en'
    call(name: string, options?: object): Promise<any>
  }
}
