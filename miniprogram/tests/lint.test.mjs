import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { kit, Phone } from './phone.mjs'

const { loadESLint } = createRequire(import.meta.url)('eslint')
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TSC = join(ROOT, 'node_modules/.bin/tsc')
const TYPINGS = readFileSync(join(ROOT, 'groups/index.d.ts'), 'utf8')
const SOURCE = readFileSync(join(ROOT, 'groups/index.js'), 'utf8')

const ESLint = await loadESLint({ useFlatConfig: true })
const linter = new ESLint({ cwd: ROOT })

async function lintErrors (code, filePath = 'example/pages/rank/index.js') {
  const [{ messages }] = await linter.lintText(`${code}\n`, { filePath: join(ROOT, filePath) })
  return messages.map(({ ruleId, message }) => ruleId || message)
}

for (const folder of ['groups', 'example', 'article']) {
  test(`in ${folder}/ a callback in a share is refused`, async () => {
    const path = `${folder}/any.js`
    for (const returned of [
      '{ success () {} }', '{ fail: () => {} }', "{ title: 'a', complete: null }", "{ 'success': 1 }",
      "groups.share({ title: 'a', success () {} })", 'open ? { success () {} } : {}'
    ]) {
      const rest = 'const groups = getApp().groups; const open = groups.open; Page'
      for (const page of [
        `{ onShareAppMessage () { return ${returned} } }`,
        `{ onShareAppMessage: () => (${returned}) }`,
        `{ onShareAppMessage: function () { const card = ${returned}; return card } }`
      ]) {
        assert.ok((await lintErrors(`${rest}(${page})`, path)).includes('no-restricted-syntax'), page)
      }
    }
  })

  for (const name of ['window', 'document', 'localStorage', 'fetch', 'XMLHttpRequest', 'navigator', 'location', 'URLSearchParams']) {
    test(`in ${folder}/ the browser's ${name} is refused`, async () => {
      assert.ok((await lintErrors(`console.log(${name}.a)`, `${folder}/any.js`)).includes('no-restricted-globals'))
    })
  }

  for (const code of [
    'const a = b?.c', 'const a = b ?? 1', 'const a = { ...b }', 'class A { b = 1 }', 'try { a() } catch { b() }',
    'async function * a () {}', 'const a = 1_000', 'const a = /(?<=b)c/', 'a ||= 1', "import a from 'a'"
  ]) {
    test(`in ${folder}/ \`${code}\` is refused`, async () => {
      const [message] = await lintErrors(code, `${folder}/any.js`)
      assert.match(message, /^Parsing error/)
    })
  }

  for (const code of ['wx.login().finally(() => {})', '[[1]].flat()', "'a'.replaceAll('a', 'b')", 'Object.fromEntries([])']) {
    test(`in ${folder}/ \`${code}\` is refused`, async () => {
      assert.deepEqual(await lintErrors(code, `${folder}/any.js`), ['no-restricted-syntax'])
    })
  }
}

test('allowed code passes', async () => {
  assert.deepEqual(await lintErrors(`Page({
  data: { window: 'day', success: true },
  async onLoad () {
    wx.request({ url: 'https://example.com', success: () => {}, fail: () => {} })
    const all = await Promise.all(Object.entries(this.data))
    this.setData(Object.assign({}, { all }))
  },
  onShareAppMessage () {
    wx.reportEvent({ success () {} })
    return getApp().groups.share({ title: '看看群排行' })
  }
})`), [])
})

test('the whole folder passes', async () => {
  const results = await linter.lintFiles('.')
  const bad = results.filter(({ errorCount, warningCount }) => errorCount + warningCount)
  assert.deepEqual(bad.map(({ filePath, messages }) => [filePath, messages]), [])
})

// The typings

function tsc (...files) {
  try {
    execFileSync(TSC, files, { cwd: ROOT, encoding: 'utf8' })
    return ''
  } catch (error) {
    return error.stdout
  }
}

/** Return the output of tsc for the project with a change in one file. */
function tscWith (name, from, to) {
  const folder = mkdtempSync(join(tmpdir(), 'groupsite-types-'))
  try {
    for (const file of ['groups/index.js', 'groups/index.d.ts', 'tests/types.ts']) {
      const text = readFileSync(join(ROOT, file), 'utf8')
      const changed = file === name ? text.replace(from, to) : text
      assert.ok(file !== name || changed !== text, 'the change has no effect')
      execFileSync('mkdir', ['-p', join(folder, file, '..')])
      writeFileSync(join(folder, file), changed)
    }
    const config = JSON.parse(readFileSync(join(ROOT, 'tsconfig.json'), 'utf8'))
    config.compilerOptions.typeRoots = [join(ROOT, 'node_modules')]
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    return tsc('-p', folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test("the typings fit the official wx, every use of them, and the kit's source", () => {
  assert.equal(tsc('-p', 'tsconfig.json'), '')
})

test('the typings compile without the official ones', () => {
  assert.equal(tsc('--noEmit', '--strict', '--ignoreConfig', '--lib', 'es2017', '--types', '', 'groups/index.d.ts'), '')
  assert.doesNotMatch(TYPINGS, /WechatMiniprogram|reference types|import /)
})

test('a method, reason or field that differs between typings, source and use is an error', () => {
  assert.equal(tscWith('groups/index.d.ts', '/** A client', '/** The client'), '')
  assert.match(tscWith('groups/index.js', 'link: (openGId', 'linc: (openGId'), /linc/)
  assert.match(tscWith('groups/index.js', '    hide: ', '    hides: '), /hides/)
  assert.match(tscWith('groups/index.d.ts', "  | 'locked'\n", ''), /locked/)
  assert.match(tscWith('groups/index.d.ts', 'getStorageSync(key: string): any', 'getStorage(key: string, value: Date): Date'), /getStorage/)
  assert.match(tscWith('groups/index.d.ts', 'retryAfter?', 'retryInSeconds?'), /retryAfter/)
})

test('the typings list exactly the methods of the kit', () => {
  const groups = TYPINGS.match(/export interface Groups \{([^]*?)\n\}/)[1]
  const named = [...groups.matchAll(/^ {2}(\w+)[<(]/gm)].map(([, name]) => name)
  assert.deepEqual(named, Object.keys(new Phone().start()))
  assert.deepEqual(Object.keys(kit).sort(), ['GroupsError', 'createGroups', 'findClient'])
})

test('every reason in the typings is in the source', () => {
  const reasons = TYPINGS.match(/export type Reason =([^]*?)\nexport/)[1]
  for (const [, reason] of reasons.matchAll(/\| '(\w+)'/g)) {
    assert.match(SOURCE, new RegExp(`'${reason}'`))
  }
})

test('the kit is one file and its components, without dependencies', () => {
  const required = [...SOURCE.matchAll(/require\(/g)]
  assert.deepEqual(required, [])
  const { main, miniprogram } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  assert.deepEqual([main, miniprogram], ['groups/index.js', 'groups'])
})
