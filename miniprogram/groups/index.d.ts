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
  login(options: Callbacks<{ code: string }>): unknown
  request(options: any): unknown
  uploadFile(options: any): unknown
  getEnterOptionsSync(): EnterOptions
  getShareInfo(options: any): unknown
  getGroupEnterInfo?(options: any): unknown
  getAccountInfoSync(): { miniProgram: { appId: string; envVersion: string } }
  getStorageSync(key: string): any
  setStorageSync(key: string, value: any): void
  removeStorageSync(key: string): void
  showShareMenu(options: any): unknown
  onAppShow?(listener: (options: any) => void): void
  onAppHide?(listener: () => void): void
  requirePrivacyAuthorize?(options: any): unknown
}

export interface Callbacks<T> {
  success?: (result: T) => void
  fail?: (error: any) => void
  [key: string]: any
}

export interface EnterOptions {
  scene: number
  path?: string
  query?: Record<string, string | undefined>
  shareTicket?: string
  [key: string]: any
}

/** Why an entry has no group. `unsupported`: a base library below 2.17.3. */
export type Reason =
  | 'single_chat'
  | 'left_group'
  | 'no_ticket'
  | 'not_from_group'
  | 'timeline'
  | 'offline'
  | 'privacy_refused'
  | 'privacy_undeclared'
  | 'blocked'
  | 'locked'
  | 'unavailable'
  | 'unsupported'
  | 'failed'

export type Entry =
  | { group: Group; created: boolean; query: Record<string, string> }
  /** `error` says more where something failed. Asking again (`enter()`) is always allowed. */
  | { group: null; reason: Reason; query: Record<string, string>; error?: GroupsError }

export interface User {
  id: string
  nickname: string
  nicknameState: ReviewState
  /** An absolute URL. */
  avatar: string
  avatarState: ReviewState
  profileComplete: boolean
}

export type ReviewState = 'approved' | 'pending' | 'rejected'

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
  writer: string
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
  /** Made by the kit where there is none, and kept for the kit's own repetition. */
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
  /** The server's `code`, or the kit's own: `offline`, `timeout`, `interrupted`, `wx_fail` … */
  code: string
  status?: number
  requestId?: string
  fields?: Record<string, string[]>
  /** Seconds. */
  retryAfter?: number
  /** As the `wx` call gave it. */
  errMsg?: string
  errno?: number
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
    options?: { method?: 'GET' | 'POST' | 'PUT' | 'DELETE'; data?: unknown }
  ): Promise<T>
}

export function createGroups(options: Options): Groups
