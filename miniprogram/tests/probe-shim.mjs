/**
 * Run the probes of probes.mjs on the phone of shim.mjs, and print their results as JSON.
 *
 *   SITE_URL=… SANDBOX_URL=… APP_ID=… PERSON=… CHATS='{"openGId": "chat"}' node probe-shim.mjs
 */
import { createRequire } from 'node:module'

import { runProbes } from './probes.mjs'
import { createWx } from './shim.mjs'

const { createGroups } = createRequire(import.meta.url)('../groups/index.js')
const { SITE_URL: baseUrl, SANDBOX_URL: sandbox, APP_ID: appid, PERSON: person, CHATS } = process.env

async function open (call, more = {}) {
  const response = await fetch(`${sandbox}/phone/${call}`, { method: 'POST', body: JSON.stringify({ person, appid, ...more }) })
  return response.json()
}

const opened = { launch: { scene: 1001, query: {} } }
const storage = new Map()
const phone = {
  wx: createWx({ sandbox, appid, person, opened, storage }),
  chats: JSON.parse(CHATS),
  async tapCard (chat, card = {}) { opened.launch = await open('open-card', { chat, ...card }) },
  async openOutside () { opened.launch = { scene: 1001, query: {} } },
  async openSingle () { opened.launch = await open('open-single') },
  start () {
    storage.clear()
    return createGroups({ baseUrl, wx: phone.wx, diagnostics: 0 })
  }
}
console.log(JSON.stringify(await runProbes(phone)))
process.exit()
