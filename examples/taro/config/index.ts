import { defineConfig } from '@tarojs/cli'

export default defineConfig({
  projectName: 'groupsite-example-taro',
  framework: 'react',
  compiler: { type: 'webpack5', prebundle: { enable: false } },
  plugins: ['@tarojs/plugin-framework-react', '@tarojs/plugin-platform-weapp', '@tarojs/plugin-platform-h5'],
  designWidth: 375,
  deviceRatio: { 375: 2, 750: 1 },
  sourceRoot: 'src',
  // weapp 是小程序，h5 里没有群，页面会说明。In h5 there are no groups, and the page says so.
  outputRoot: `dist/${process.env.TARO_ENV}`,
  defineConstants: {
    GROUPSITE_URL: JSON.stringify(process.env.GROUPSITE_URL || 'http://127.0.0.1:8000')
  }
})
