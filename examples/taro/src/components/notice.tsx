import { View } from '@tarojs/components'

/** What H5, Alipay and WeChat versions that are too old show instead of a group. */
export function Notice () {
  return <View className='notice'>请用最新版微信打开小程序，这里看不到群排行</View>
}
