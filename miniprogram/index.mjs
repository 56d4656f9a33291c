// The kit for `import`. It is the CommonJS module itself and holds no code of its own: two copies of
// the client in one app would log in twice. It lies outside of groups/, because WeChat's developer
// tools copy that folder, and mini-programs have no ES modules.
import kit from './groups/index.js'

export const { createGroups, findClient, GroupsError } = kit
