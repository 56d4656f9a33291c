/// <reference types="groupsite/vue" />
import type { GlobalComponents } from 'vue'

type Properties<Name extends keyof GlobalComponents> = InstanceType<GlobalComponents[Name]>['$props']

export const ranking: Properties<'GroupRanking'> = {
  openGid: 'tG',
  limit: 20,
  onRanking: ({ detail }) => detail.entries.length.toFixed(),
  onMember: ({ detail }) => detail.member.id.length
}
export const profile: Properties<'GroupProfile'> = { privacyVersion: '2', onSaved: ({ detail }) => detail.user.nickname.length }

// @ts-expect-error a limit is a number
export const wrong: Properties<'GroupRanking'> = { limit: '20' }
// @ts-expect-error there is no such event
export const wrongEvent: Properties<'GroupProfile'> = { onRanking: () => {} }
