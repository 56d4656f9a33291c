import { showToast } from '@tarojs/taro'
import { Notice } from '../../components/notice'

export default function ProfilePage () {
  if (process.env.TARO_ENV !== 'weapp') return <Notice />
  return <group-profile onSaved={({ detail }) => showToast({ title: `你好，${detail.user.nickname}`, icon: 'none' })} />
}
