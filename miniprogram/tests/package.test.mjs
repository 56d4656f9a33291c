/** Test the npm package that others install, and what its README promises. */
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import esbuild from 'esbuild'
import { installPacked, PACKAGE, ROOT, run } from './packed.mjs'

const { TmplGroup } = createRequire(import.meta.url)('glass-easel-template-compiler')

const MAX_PACKED = 60_000
const COMPONENTS = ['group-profile', 'group-ranking']

const { project, tarball } = installPacked()
const installed = join(project, 'node_modules/groupsite')
const readme = readFileSync(join(installed, 'README.md'), 'utf8')
const files = tarball.files.map(({ path }) => path)

test('the package has the kit, its types, a README and a licence, and is small', () => {
  const outside = files.filter(file => !/^(groups|skills)\//.test(file))
  assert.deepEqual(outside.sort(), [
    'LICENSE', 'README.md', 'components.d.ts', 'index.d.mts', 'index.mjs', 'jsx.d.ts', 'package.json', 'vue.d.ts'
  ])
  for (const name of COMPONENTS) {
    for (const extension of ['js', 'json', 'wxml', 'wxss']) assert.ok(files.includes(`groups/${name}/index.${extension}`))
  }
  const types = new Set(files.map(file => file.split('.').at(-1)))
  assert.deepEqual([...types].filter(type => !['js', 'json', 'wxml', 'wxss', 'wxs', 'ts', 'mts', 'mjs', 'md', 'LICENSE'].includes(type)), [])
  assert.ok(tarball.size < MAX_PACKED, `${tarball.size} bytes packed`)
})

test('the licence is the one of the repository', () => {
  assert.equal(readFileSync(join(installed, 'LICENSE'), 'utf8'), readFileSync(join(ROOT, '../LICENSE'), 'utf8'))
})

test('every file that package.json names is in the package, and it depends on nothing', () => {
  const { dependencies, peerDependencies, exports, main, module, types } = PACKAGE
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined])
  const named = [main, module, types, ...JSON.stringify(exports).match(/\.\/[\w./]+/g).map(path => path.slice(2))]
  assert.deepEqual(named.filter(file => /\.\w+$/.test(file) && !files.includes(file)), [])
})

test('`require` and `import` give one and the same kit', () => {
  writeFileSync(join(project, 'use.mjs'), `
    import { createRequire } from 'node:module'
    import { createGroups, findClient, GroupsError } from 'groupsite'
    const kit = createRequire(import.meta.url)('groupsite')
    if (kit.createGroups !== createGroups || kit.findClient !== findClient || kit.GroupsError !== GroupsError) throw new Error('two copies')
    const groups = createGroups({ baseUrl: 'https://groups.example.com' })
    console.log(JSON.stringify([Object.keys(kit), await groups.enter(), findClient().groups === groups]))`)
  const [names, entry, isFound] = JSON.parse(run(project, 'node', 'use.mjs'))
  assert.deepEqual(names.sort(), ['GroupsError', 'createGroups', 'findClient'])
  assert.deepEqual(entry, { group: null, reason: 'unsupported', query: {} })
  assert.ok(isFound)
})

test('a bundle of an app that imports the kit and of a component that requires it has one copy', async () => {
  writeFileSync(join(project, 'app.mjs'), `
    import { createGroups } from 'groupsite'
    import './node_modules/groupsite/groups/group-ranking/index.js'
    createGroups({ baseUrl: 'https://groups.example.com' })`)
  const { outputFiles: [bundle] } = await esbuild.build({
    absWorkingDir: project, entryPoints: ['app.mjs'], bundle: true, write: false, format: 'iife'
  })
  assert.equal(bundle.text.match(/function createGroups/g).length, 1)
})

test("WeChat's own compilers take the package", () => {
  const app = join(project, 'app')
  mkdirSync(app)
  const write = (file, value) => writeFileSync(join(app, file), typeof value === 'string' ? value : JSON.stringify(value))
  write('project.config.json', { appid: 'touristappid', compileType: 'miniprogram' })
  write('package.json', { name: 'a-mini-program', dependencies: { groupsite: tarball.filename } })
  write('app.json', { pages: [] })
  run(app, 'npm', 'install', '--offline', '--no-audit', '--no-fund', join(project, tarball.filename))
  run(app, 'node', join(ROOT, 'harness/pack-npm.mjs'), app)
  const built = join(app, 'miniprogram_npm/groupsite')
  const names = readdirSync(built, { recursive: true })
  assert.ok(names.includes('index.js'))
  assert.ok(!names.some(name => name.endsWith('.mjs')))
  const group = new TmplGroup()
  for (const name of COMPONENTS) {
    assert.deepEqual(group.addTmpl(`${name}/index`, readFileSync(join(built, name, 'index.wxml'), 'utf8')), [])
  }
})

// The README

test('every link of the README leads to a file of the package, or to an address', () => {
  const targets = [...readme.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target)
  const broken = targets.filter(target => !/^(https:|#)/.test(target) && !existsSync(join(installed, target.split('#')[0])))
  assert.ok(targets.length > 2)
  assert.deepEqual(broken, [])
})

for (const [language, row] of [['Chinese', /^\| (\S+) 起 \| (\S+) 起 \| (\S+) 起 \|$/gm], ['English', /^\| from (\S+) \| from (\S+) \| from (\S+) \|$/gm]]) {
  test(`the first row of the ${language} table of versions is true of this package`, () => {
    const [, kit, server, library] = [...readme.matchAll(row)][0]
    const released = name => readFileSync(join(ROOT, '..', name), 'utf8').match(/^version = "(.+)"$/m)[1]
    // A row may be about the next release; scripts/release.py then writes its version.
    assert.ok(kit === 'next' || !isNewer(kit, PACKAGE.version), kit)
    assert.ok(server === 'next' || !isNewer(server, released('pyproject.toml')), server)
    assert.equal(library, readFileSync(join(installed, 'groups/index.js'), 'utf8').match(/MIN_BASE_LIBRARY = '(.+)'/)[1])
  })
}

test('the tables of versions have the same rows in both languages', () => {
  const rows = pattern => [...readme.matchAll(pattern)].map(([, ...cells]) => cells)
  assert.deepEqual(rows(/^\| (\S+) 起 \| (\S+) 起 \| (\S+) 起 \|$/gm), rows(/^\| from (\S+) \| from (\S+) \| from (\S+) \|$/gm))
})

function isNewer (version, other) {
  return version.localeCompare(other, 'en', { numeric: true }) > 0
}
