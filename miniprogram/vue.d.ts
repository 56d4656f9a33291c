/**
 * Types of the components in Vue's templates, for uni-app. Name them once, in any .d.ts file of the app:
 *
 *   /// <reference types="groupsite/vue" />
 */
import type {
  ComponentEvent, GroupProfileEvents, GroupProfileProperties, GroupRankingEvents, GroupRankingProperties
} from './components'

/** `ranking` is `@ranking` in a template, and `onRanking` for TypeScript. */
type Listeners<Events> = {
  [Name in keyof Events & string as `on${Capitalize<Name>}`]?: (event: ComponentEvent<Events[Name]>) => void
}

type Component<Properties, Events> = new () => { $props: Properties & Listeners<Events> }

declare module 'vue' {
  interface GlobalComponents {
    GroupRanking: Component<GroupRankingProperties, GroupRankingEvents>
    GroupProfile: Component<GroupProfileProperties, GroupProfileEvents>
  }
}
