import { Button, Navigator, View } from '@tarojs/components'
import { useDidShow, useShareAppMessage } from '@tarojs/taro'
import { useState } from 'react'
import type { Reason } from 'groupsite'
import { Notice } from '../../components/notice'
import { groups } from '../../services/groups'

export default function RankingPage () {
  const [reason, setReason] = useState<Reason>()
  const [rank, setRank] = useState<number | null>(null)

  // 组件自己会进入群；这里只为知道能不能。重复调用 enter() 不会重复请求。
  // The component enters by itself. This tells whether it can; calling enter() twice sends nothing twice.
  useDidShow(async () => setReason((await groups.enter()).reason))

  useShareAppMessage(() => groups.share({ title: rank ? `我在群里排第 ${rank} 名` : '看看群排行' }))

  if (reason === 'unsupported') return <Notice />
  return (
    <View>
      {process.env.TARO_ENV === 'weapp' && (
        <group-ranking onRanking={({ detail }) => setRank(detail.me && detail.me.rank)} />
      )}
      <View className='footer'>
        <Button openType='share' size='mini'>分享到群</Button>
        <Navigator url='/pages/profile/index'>头像与昵称</Navigator>
      </View>
    </View>
  )
}
