import { createGroups } from 'groupsite'

// 由 config/index.ts 填入。Set by config/index.ts.
declare const GROUPSITE_URL: string

// 三个环境各自的服务端：开发版、体验版、正式版。One server for each environment.
export const groups = createGroups({
  baseUrl: {
    develop: GROUPSITE_URL,
    trial: 'https://groups.example.com',
    release: 'https://groups.example.com'
  }
})
