/** Test two copies of the kit in one app: uni-app bundles one for the pages and copies one for the components. */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { createWx, MiniProgram } from './shim.mjs'

const KIT = fileURLToPath(new URL('../groups', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'groupsite-copies-'))
after(() => rmSync(folder, { recursive: true }))
cpSync(KIT, join(folder, 'services/kit'), { recursive: true })
cpSync(KIT, join(folder, 'wxcomponents/groupsite'), { recursive: true })

function start (app) {
  writeFileSync(join(folder, 'app.js'), app)
  const wx = createWx({ appid: 'wxapp', person: 'alice', opened: { launch: { scene: 1001, query: {} } } })
  const program = new MiniProgram(folder, wx)
  program.load('app.js')
  return { program, copy: program.load('wxcomponents/groupsite/index.js') }
}

test('a client made by one copy before App is called is found by the other', () => {
  const { program, copy } = start(`
    const { createGroups } = require('./services/kit/index')
    const groups = createGroups({ baseUrl: 'https://groups.example.com' })
    App({ groups })`)
  assert.notEqual(program.load('services/kit/index.js'), copy)
  assert.equal(copy.findClient().groups, program.app.groups)
})

test('so is one with a name, made after App was called', () => {
  const { program, copy } = start(`
    const { createGroups } = require('./services/kit/index')
    App({})
    getApp().made = createGroups({ baseUrl: 'https://groups.example.com', name: 'second' })`)
  assert.equal(copy.findClient('second').groups, program.app.made)
  assert.throws(() => copy.findClient(), { name: 'GroupsError', code: 'misconfigured' })
})
