/** Test the types of the installed package, in each way of resolving modules, with both compilers. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { installPacked, ROOT, run } from './packed.mjs'

const { project } = installPacked()
const SAMPLES = ['use.ts', 'jsx.tsx', 'vue.ts']
for (const name of SAMPLES) copyFileSync(join(ROOT, 'tests/types', name), join(project, name))
mkdirSync(join(project, 'node_modules/@types'))
for (const name of ['@types/react', 'vue']) symlinkSync(join(ROOT, 'node_modules', name), join(project, 'node_modules', name))
// The same as an ES module by its name, which node16 and nodenext resolve in another way.
copyFileSync(join(project, 'use.ts'), join(project, 'use-module.mts'))

/** Return what the compiler of this version says of the samples. */
function compile (version, options, files = SAMPLES) {
  const config = `tsconfig.${version}.${options.moduleResolution}.json`
  const compilerOptions = {
    target: 'es2017',
    lib: ['es2017', 'dom'],
    strict: true,
    noEmit: true,
    jsx: 'react-jsx',
    types: [],
    // The compiler in Go checks declarations, the kit's own too, in a second; the other takes half a minute.
    skipLibCheck: version === 'typescript-5',
    ...options
  }
  writeFileSync(join(project, config), JSON.stringify({ compilerOptions, files }))
  try {
    return run(project, 'node', join(ROOT, 'node_modules', version, 'bin/tsc'), '-p', config)
  } catch (error) {
    return error.message
  }
}

for (const [version, module, moduleResolution, files] of [
  ['typescript-5', 'commonjs', 'node10', SAMPLES],
  ['typescript-5', 'node16', 'node16', [...SAMPLES, 'use-module.mts']],
  ['typescript-5', 'esnext', 'bundler', SAMPLES],
  ['typescript', 'nodenext', 'nodenext', [...SAMPLES, 'use-module.mts']],
  ['typescript', 'esnext', 'bundler', SAMPLES]
]) {
  test(`${version} finds the types with moduleResolution ${moduleResolution}`, () => {
    assert.equal(compile(version, { module, moduleResolution }, files), '')
  })
}

test('every property and event of the components has a type', () => {
  const types = readFileSync(join(ROOT, 'components.d.ts'), 'utf8')
  const typed = name => new Set(types.match(new RegExp(`interface ${name}\\b.*\\{([^]*?)\\n\\}`))[1].match(/^ {2}\w+/gm).map(each => each.trim()))
  for (const [folder, name] of [['group-ranking', 'GroupRanking'], ['group-profile', 'GroupProfile']]) {
    const source = readFileSync(join(ROOT, 'groups', folder, 'index.js'), 'utf8')
    const properties = source.match(/^ {2}properties: \{([^]*?)\n {2}\}/m)?.[1].match(/^ {4}\w+(?=:)/gm) || []
    const events = [...source.matchAll(/triggerEvent\('(\w+)'/g)].map(([, event]) => event)
    const own = new Set([...typed(`${name}Properties`), ...typed('CommonProperties')])
    assert.deepEqual(properties.map(each => each.trim()).filter(each => !own.has(each)), [])
    assert.deepEqual(events.filter(event => !typed(`${name}Events`).has(event)), [])
    assert.ok(events.length)
  }
})
