const { createGroups } = require('groupsite')
const { baseUrl, cloud } = require('./config')
const { logInToDemo } = require('./utils/server')

App({
  groups: createGroups({ baseUrl, cloud, getToken: logInToDemo }),

  /** The group that was shown last: the game counts for it. */
  openGId: ''
})
