/// <reference types="@dcloudio/types" />
/// <reference types="groupsite/vue" />

declare module '*.vue' {
  import type { DefineComponent } from 'vue'
  const component: DefineComponent
  export default component
}
