/**
 * Types of the components in React, for Taro. Name them once, in any .d.ts file of the app:
 *
 *   /// <reference types="groupsite/jsx" />
 */
import type {
  ComponentEvent, GroupProfileEvents, GroupProfileProperties, GroupRankingEvents, GroupRankingProperties
} from './components'

/** `ranking` becomes `onRanking`. */
type Listeners<Events> = {
  [Name in keyof Events & string as `on${Capitalize<Name>}`]?: (event: ComponentEvent<Events[Name]>) => void
}

interface Element {
  key?: string | number | null
  ref?: unknown
  id?: string
  className?: string
  style?: string | Record<string, string | number>
  /** For the slot `outside` of the ranking. */
  children?: unknown
}

interface Elements {
  'group-ranking': Element & GroupRankingProperties & Listeners<GroupRankingEvents>
  'group-profile': Element & GroupProfileProperties & Listeners<GroupProfileEvents>
}

declare module 'react' {
  namespace JSX {
    interface IntrinsicElements extends Elements {}
  }
}
