import type { PropsWithChildren } from 'react'
// 先创建客户端，组件才能找到它。Components find the client that this creates.
import './services/groups'
import './app.css'

export default function App ({ children }: PropsWithChildren) {
  return children
}
