/** The package in an app's TypeScript; types.test.mjs compiles it in each way to resolve modules. */
import { createGroups, findClient, GroupsError, type Entry, type Groups, type Ranking } from 'groupsite'
import type { GroupRankingEvents, GroupRankingProperties, Texts } from 'groupsite/components'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const assertType = <_Claim extends true>(): void => {}

const groups = createGroups({ baseUrl: 'https://groups.example.com' })
assertType<Equal<typeof groups, Groups>>()
assertType<Equal<ReturnType<typeof findClient>['groups'], Groups>>()
assertType<Equal<ReturnType<Groups['enter']>, Promise<Entry>>>()
assertType<Equal<GroupRankingEvents['ranking'], Ranking>>()

export function codeOf (error: unknown): string {
  return error instanceof GroupsError ? error.code : 'unknown'
}

export const properties: GroupRankingProperties = { openGid: 'tG', board: 'points', period: 'week', limit: 20, report: false }
export const texts: Texts = { loading: '稍等', reasons: { blocked: '…' } }

// @ts-expect-error baseUrl is required
createGroups({})
// @ts-expect-error a limit is a number
export const wrong: GroupRankingProperties = { limit: '20' }
// @ts-expect-error texts are strings
export const wrongTexts: Texts = { loading: () => '稍等' }
