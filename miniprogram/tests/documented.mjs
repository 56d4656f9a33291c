/**
 * Run code of the documentation on a phone of shim.mjs, with the real site and the sandbox, and print
 * what came of it: `result`, an expression that is evaluated after the code and sees its names, the
 * lines that the code printed, and the calls of what else an app has:
 *
 *   SITE_URL=… SANDBOX_URL=… APP_ID=… APP_SECRET=… SERVER_KEY=… node documented.mjs < {"code", "result", "chat"}
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'

import { createWx, MiniProgram } from './shim.mjs'

const { SITE_URL: site, SANDBOX_URL: sandbox, APP_ID: appid, APP_SECRET: secret, SERVER_KEY: key } = process.env
const FROM_SEARCH = { scene: 1053, query: {} }

async function main ({ code, result, chat }) {
  const launch = await post(`${sandbox}/phone/open-card`, { person: 'alice', appid, chat: chat || 'family' })
  // The chat tool gives a group by a call of its own, whatever the mini-program was opened from.
  const wx = createWx({ sandbox, appid, person: 'alice', opened: { launch: chat ? FROM_SEARCH : launch } })
  const seen = { said: [], container: [], sessions: [] }
  wx.getChatToolInfo = options => wx.getShareInfo(Object.assign({ shareTicket: launch.shareTicket }, options))
  wx.cloud = {
    callContainer ({ path, method, header, data, config }) {
      seen.container.push({ path, service: header['X-WX-SERVICE'], env: config.env })
      return new Promise((resolve, reject) => wx.request({ url: site + path, method, header, data, success: resolve, fail: reject }))
    }
  }
  const program = new MiniProgram(fileURLToPath(new URL('../groups', import.meta.url)), wx)
  const kit = program.load('index.js')
  Object.assign(program.context, {
    require: name => name === 'groupsite' ? kit : program.load(name),
    console: { log: value => seen.said.push(value) },
    createGroups: kit.createGroups,
    baseUrl: site,
    myBackEnd: backEnd(wx, seen.sessions)
  })
  if (chat) program.context.groups = kit.createGroups({ baseUrl: site, wx })
  const run = vm.runInContext(`(async () => {\n${code}\nreturn ${result}\n})`, program.context)
  return Object.assign(seen, { result: await run() })
}

/** Return a back end that exchanges codes by itself, and passes the key on to the site. */
function backEnd (wx, sessions) {
  return {
    async session (options) {
      sessions.push(options)
      const { code } = await new Promise((resolve, reject) => wx.login({ success: resolve, fail: reject }))
      const query = new URLSearchParams({ appid, secret, js_code: code, grant_type: 'authorization_code' })
      const { openid, session_key: sessionKey } = await (await fetch(`${sandbox}/sns/jscode2session?${query}`)).json()
      const { token } = await post(`${site}/api/v1/server/sessions`, { openid, sessionKey }, { authorization: `Key ${key}` })
      return { groupsToken: token }
    }
  }
}

async function post (url, body, headers = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: Object.assign({ 'content-type': 'application/json' }, headers),
    body: JSON.stringify(body)
  })
  return response.json()
}

console.log(JSON.stringify(await main(JSON.parse(readFileSync(0, 'utf8')))))
process.exit()
