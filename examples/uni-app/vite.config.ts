import { cpSync, rmSync } from 'node:fs'
import uni from '@dcloudio/vite-plugin-uni'
import { defineConfig } from 'vite'

// 原生组件必须在 wxcomponents 里，uni-app 会原样复制。
// Native components have to be in wxcomponents, which uni-app copies as it is.
const components = 'src/wxcomponents/groupsite'
rmSync(components, { recursive: true, force: true })
cpSync('node_modules/groupsite/groups', components, { recursive: true, filter: file => !file.endsWith('.d.ts') })

export default defineConfig({
  plugins: [uni()],
  define: { GROUPSITE_URL: JSON.stringify(process.env.GROUPSITE_URL || 'http://127.0.0.1:8000') }
})
