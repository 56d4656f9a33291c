/// <reference types="groupsite/jsx" />
import type { Groups } from 'groupsite'

export function Page ({ groups }: { groups: Groups }) {
  return (
    <>
      <group-ranking
        key='ranking'
        className='ranking'
        openGid='tG'
        board='points'
        period='week'
        limit={20}
        report={false}
        client='groupsite'
        texts={{ reasons: { blocked: '…' } }}
        onEntry={({ detail }) => { if (detail.group) groups.leave(detail.group.openGId) }}
        onRanking={({ detail }) => detail.entries.length.toFixed()}
        onState={({ detail }) => detail.state === 'ready'}
        onMember={({ detail }) => detail.member.id.length}
      />
      <group-ranking><i slot='outside' /></group-ranking>
      <group-profile privacyVersion='2' onSaved={({ detail }) => detail.user.nickname.length} onConsent={({ detail }) => detail.consents.length} />
    </>
  )
}

export const wrong = [
  // @ts-expect-error there is no such property
  <group-ranking openGID='tG' />,
  // @ts-expect-error a limit is a number
  <group-ranking limit='20' />,
  // @ts-expect-error a ranking has no user
  <group-ranking onRanking={({ detail }) => detail.user} />,
  // @ts-expect-error there is no such component
  <group-rank />
]
