/** A client of one groupsite server, for WeChat mini-programs from base library 2.17.3. */

/** The server's address, with or without `/api/v1`: one for all versions, or one for each `envVersion`. */
export type BaseUrl = string | { develop: string; trial: string; release: string }

export interface Options {
  baseUrl: BaseUrl
  /** The mini-program's appid; defaults to the one that `wx.getAccountInfoSync` returns. */
  appid?: string
  /** Defaults to the global `wx`; tests and frameworks may pass their own. */
  wx?: Wx
  /**
   * Resolves to groupsite's token, if your own back end logs in (`server/sessions`).
   * Called instead of `wx.login`, and never twice at the same time.
   */
  getToken?: (reason: TokenReason) => Promise<string>
  /** Replaces `wx.request`. */
  transport?: Transport
  /** Sends everything through `wx.cloud.callContainer` to this service of WeChat Cloud Run. */
  cloud?: { env: string; service: string }
  /** The entries of the menu ··· to show, as for `wx.showShareMenu`; by default the menu stays as it is. */
  menus?: ('shareAppMessage' | 'shareTimeline')[]
  /** The property of the app under which components find this client; defaults to `groupsite`. */
  name?: string
  /**
   * The share of runs, 0 … 1, that report to the server what the phone could not do: no ids, at most
   * three reports a run. Defaults to 0.1 in the released version and to 1 elsewhere.
   */
  diagnostics?: number
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

/** Sends a request. Resolves for every status; rejects as `wx.request` fails, if there is no response. */
export type Transport = (
  request: TransportRequest
) => Promise<{ statusCode: number; data: unknown; header?: Record<string, string> }>

/** The part of `wx` that the kit uses. Any object with these methods works. */
export interface Wx {
  login(options: any): unknown
  request(options: any): unknown
  uploadFile(options: any): unknown
  getEnterOptionsSync(): EnterOptions
  getShareInfo?(options: any): unknown
  getGroupEnterInfo?(options: any): unknown
  getAccountInfoSync(): { miniProgram: { appId: string; envVersion: string } }
  /** Gives the base library's version and the phone's language; before 2.20.1, `getSystemInfoSync` does. */
  getAppBaseInfo?(): { SDKVersion?: string; language?: string }
  getSystemInfoSync?(): { SDKVersion?: string; language?: string }
  getStorageSync(key: string): any
  setStorageSync(key: string, value: any): void
  removeStorageSync(key: string): void
  updateShareMenu?(options: any): unknown
  showShareMenu?(options: any): unknown
  onAppHide?(listener: () => void): void
  onNetworkStatusChange?(listener: (status: { isConnected: boolean }) => void): void
  cloud?: { callContainer(options: any): unknown }
  getFileSystemManager?(): any
  compressImage?(options: any): unknown
  getDeviceInfo?(): any
  /** Used by `<group-profile>`, as are the next two. */
  getPrivacySetting?(options: any): unknown
  requirePrivacyAuthorize?(options: any): unknown
  openPrivacyContract?(options: any): unknown
}

/** The options that `wx.getEnterOptionsSync` and `App.onShow` give. */
export interface EnterOptions {
  scene?: number
  path?: string
  query?: Record<string, string | undefined>
  shareTicket?: string
  chatType?: number
  /**
   * Fetches encrypted data that names a group, from whatever else seals one: a chat tool, a private
   * message. Called after logging in, and again after another log-in: fetch anew each time.
   */
  envelope?: () => Promise<Envelope> | Envelope
}

/** What `wx.getGroupEnterInfo` and the like return. */
export interface Envelope {
  encryptedData: string
  iv: string
  cloudID?: string
}

/** Why an entry has no group. */
export type Reason =
  /** Opened from a one-to-one chat. */
  | 'single_chat'
  /** The member has left that group: in WeChat, or by `leave()` or `deleteMe()` since this opening. */
  | 'left_group'
  /** Opened from a chat, but WeChat does not say which. */
  | 'no_ticket'
  /** Not opened from a chat: search, a QR code, the list of mini-programs … */
  | 'not_from_group'
  /** Opened from Moments, where logging in is not possible. */
  | 'timeline'
  | 'offline'
  | 'privacy_refused'
  /** The mini-program's privacy notice (用户隐私保护指引) does not declare the call. */
  | 'privacy_undeclared'
  /** An operator has blocked the member. */
  | 'blocked'
  /** Too many envelopes could not be decrypted: wait `error.retryAfter`. */
  | 'locked'
  /** The server, or WeChat behind it, is busy or down. */
  | 'unavailable'
  /** A base library below 2.17.3, or not WeChat at all. */
  | 'unsupported'
  /** Anything else; see `error`. */
  | 'failed'

export type Entry =
  /** `created`: the user was not a member before. */
  | { group: Group; created: boolean; query: Query; reason?: undefined; error?: undefined }
  /** `error` is set if something failed. Calling `enter()` again is always allowed. */
  | { group: null; reason: Reason; query: Query; error?: GroupsError; created?: undefined }

/** The query of the opened card, as WeChat gives it. */
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
  /** Who may submit scores: only your server, or the mini-program too. */
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
  /** Positive numbers are places gained. */
  movement: number | 'new' | null
  member: RankedMember
  score: number | null
  scoreText: string | null
  achievedAt: string | null
  isMe: boolean
}

export interface RankedMember {
  id: string
  nickname: string
  avatar: string
  /** WeChat's id of this member within this group, where it is known; for `<open-data-item>`. */
  groupOpenId: string | null
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
  /** Required by boards of scope `group`. */
  openGId?: string
  /** Generated by the kit if missing; if the call fails, the error has it. */
  idempotencyKey?: string
}

export interface Submitted {
  board: string
  periods: { key: string; value: number; changed: boolean }[]
}

export type Purpose = 'nickname' | 'avatar' | 'groups'

export interface Consent {
  purpose: Purpose
  version: string
  givenAt: string
}

export type ConsentChange =
  /** Give consent to these purposes, under this version of the privacy notice. */
  | { purposes: Purpose[]; version: string }
  /** Withdraw it: the server deletes at once what it was for; `groups` leaves every group. */
  | { withdraw: Purpose }

export interface Report {
  /** The reported member's id. */
  member: string
  reason: 'advert' | 'abuse' | 'impersonation' | 'illegal' | 'other'
}

export interface Upload {
  /** 0 … 100. */
  onProgress?: (percent: number) => void
}

export interface ShareOptions {
  title?: string
  /** A page, with or without a query; defaults to the open page. */
  path?: string
  query?: Record<string, string | number>
  imageUrl?: string
}

/** The error of every failed call. `message` is for people, in the phone's language. */
export class GroupsError extends Error {
  /**
   * The server's (docs/errors.md), or the kit's own: `offline`, `timeout`, `interrupted`,
   * `bad_answer`, `domain_not_listed`, `left_group`, `not_from_group`, `privacy_refused`,
   * `privacy_undeclared`, `unsupported`, `get_token`, `wx_fail`, `logged_out`, `misconfigured`,
   * `failed`, and `http_502` and the like for responses that do not come from the server.
   */
  code: string
  status?: number
  requestId?: string
  fields?: Record<string, string[]>
  /** Seconds. */
  retryAfter?: number
  /** The message and number of the failed `wx` call. */
  errMsg?: string
  errno?: number
  /** Set by `submitScore`: pass it again to retry safely. */
  idempotencyKey?: string
}

export interface Groups {
  /** Find out which group the mini-program was opened from, and bind it. Never rejects. */
  enter(options?: EnterOptions): Promise<Entry>
  groups(query?: { cursor?: string }): Promise<{ groups: Group[]; next: string | null }>
  group(openGId: string): Promise<Group>
  me(): Promise<User>
  boards(): Promise<{ boards: Board[] }>
  ranking(openGId: string, query?: RankingQuery): Promise<Ranking>
  around(
    openGId: string,
    query?: { board?: string; period?: string; size?: number }
  ): Promise<Ranking>
  submitScore(submission: Submission): Promise<Submitted>
  /** Report a member of a group to the operators. */
  report(openGId: string, report: Report): Promise<void>
  setNickname(nickname: string): Promise<User>
  /** Set my name within one group; an empty one removes it. */
  setAlias(openGId: string, alias: string): Promise<Membership>
  /** Upload an avatar; `filePath` is the one that `chooseAvatar` gave. */
  uploadAvatar(filePath: string, upload?: Upload): Promise<User>
  /** Return what I have agreed to, after a change if one is given. */
  consent(change?: ConsentChange): Promise<{ consents: Consent[] }>
  hide(openGId: string, hidden?: boolean): Promise<Membership>
  leave(openGId: string): Promise<void>
  link(openGId: string, board?: string): Promise<{ url: string; expiresAt: string }>
  /** Return what `onShareAppMessage` returns; the card carries a shareTicket. */
  share(options?: ShareOptions): { title?: string; path: string; imageUrl?: string }
  /** End this session, or all sessions of mine. Calls under way log in no more; a later call does. */
  logout(options?: { everywhere?: boolean }): Promise<void>
  /** Delete the member and all their data on the server, and the session on the phone. */
  deleteMe(): Promise<void>
  /** Call `listener` whenever the network comes back; returns a function that ends this. */
  onOnline(listener: () => void): () => void
  /** Make any other call of the API, with the same log-in and errors: `request('/me/data')`. */
  request<T = unknown>(
    path: string,
    options?: { method?: 'GET' | 'POST' | 'PUT' | 'DELETE'; data?: object }
  ): Promise<T>
}

/** Create a client. Never throws: if `options` are wrong, or this is not WeChat, its calls say so. */
export function createGroups(options: Options): Groups

/** Return the client of this name for components; throws a GroupsError if there is none. */
export function findClient(name?: string): Client

/** A client as components use it. */
export interface Client {
  groups: Groups
  phone: {
    wx: Wx
    language: Language
    /** Call a `wx` function with callbacks; rejects with a GroupsError, and ends within `timeout` ms. */
    callWithTimeout(name: string, options?: { timeout?: number }): Promise<any>
  }
}

export type Language = 'zh' | 'zh-Hant' | 'en'
