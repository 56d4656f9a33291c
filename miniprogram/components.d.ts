/** The properties and events of the components, for jsx.d.ts and vue.d.ts. */
import type { Consent, Entry, Ranking, RankingEntry, Reason, User } from './groups/index'

/** Texts of a component's texts.js to replace, at any depth. */
export interface Texts {
  [key: string]: string | Texts
}

interface CommonProperties {
  texts?: Texts
  /** The `name` that createGroups was given; defaults to `groupsite`. */
  client?: string
}

export interface GroupRankingProperties extends CommonProperties {
  /** If empty, the group that the mini-program was opened from. */
  openGid?: string
  /** A board's key; if empty, the mini-program's default board. */
  board?: string
  /** `day`, `week`, `month`, `all`, or a key such as `2026-W47`; if empty, the board's default. */
  period?: string
  /** How many members a page has, 1 … 100; defaults to 50. */
  limit?: number
  /** Whether a tap on another member offers to report them; defaults to true. */
  report?: boolean
}

export interface GroupProfileProperties extends CommonProperties {
  /** The version of the privacy notice; another one asks for consent again. */
  privacyVersion?: string
}

/** The `detail` of each event. */
export interface GroupRankingEvents {
  entry: Entry
  ranking: Ranking
  state: { state: RankingState; reason: Reason | (string & {}) | null }
  member: RankingEntry
}

export type RankingState =
  | 'loading' | 'ready' | 'empty' | 'single_chat' | 'left_group' | 'outside' | 'offline' | 'error'

export interface GroupProfileEvents {
  saved: { user: User }
  consent: { consents: Consent[] }
}

/** An event as WeChat gives it. */
export interface ComponentEvent<Detail> {
  type: string
  detail: Detail
}
