// Turns a native mini-program into static files that a browser can open.
//
//   node build.mjs APP_FOLDER OUT_FOLDER
//
// Templates go through WeChat's own compiler, and every warning of it is an error here.
import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import esbuild from 'esbuild'
import { BUILT_IN } from './built-in.mjs'

const { TmplGroup } = createRequire(import.meta.url)('glass-easel-template-compiler')

const HERE = path.dirname(fileURLToPath(import.meta.url))
const NEVER_SHIPPED = ['node_modules', '.git']
const CODE = ['.js', '.json', '.wxml', '.wxss', '.wxs', '.ts', '.md']

class BuildError extends Error {}

/** The app's folder; paths inside it are relative and written with slashes. */
class Source {
  constructor (root) {
    this.root = root
    this.files = fs.readdirSync(root, { recursive: true })
      .filter(file => !NEVER_SHIPPED.some(name => file.split(path.sep).includes(name)))
      .filter(file => fs.statSync(path.join(root, file)).isFile())
      .map(file => file.split(path.sep).join('/'))
  }

  has (file) {
    return this.files.includes(file)
  }

  text (file) {
    return fs.readFileSync(path.join(this.root, file), 'utf8')
  }

  json (file) {
    return this.has(file) ? JSON.parse(this.text(file)) : {}
  }

  ending (...extensions) {
    return this.files.filter(file => extensions.includes(path.extname(file)) && !file.endsWith('.d.ts'))
  }
}

function build (folder, out) {
  const source = new Source(folder)
  const app = source.json('app.json')
  const units = findUnits(source, app)
  fs.mkdirSync(out, { recursive: true })
  fs.writeFileSync(path.join(out, 'app.js'), script({
    app: JSON.stringify(app),
    theme: JSON.stringify(app.themeLocation ? source.json(app.themeLocation) : {}),
    units: JSON.stringify(units),
    styles: JSON.stringify(styles(source, app, units)),
    modules: JSON.stringify(modules(source)),
    templates: templates(source),
    builtIns: builtIns()
  }))
  copyAssets(source, out)
  copyShell(out)
}

function script (parts) {
  const lines = Object.entries(parts).map(([name, expression]) => `  ${name}: ${expression}`)
  return `window.miniProgram = {\n${lines.join(',\n')}\n}\n`
}

/** Every page and every component it reaches: `{path: {config, isPage, scope}}`. */
function findUnits (source, app) {
  const units = {}
  const visit = (unit, isPage) => {
    if (units[unit]) return
    const config = source.json(`${unit}.json`)
    const using = Object.assign({}, app.usingComponents, config.usingComponents)
    for (const name of Object.keys(using)) using[name] = `/${locate(source, unit, using[name])}`
    config.usingComponents = using
    units[unit] = { config, isPage, scope: isScoped(config) ? unit.replace(/\W+/g, '-') : '' }
    for (const target of Object.values(using)) visit(target.slice(1), false)
  }
  for (const page of app.pages) visit(page, true)
  return units
}

function isScoped ({ component, styleIsolation }) {
  const isolation = styleIsolation || (component ? 'isolated' : 'shared')
  return !isolation.endsWith('shared') || isolation.endsWith('apply-shared')
}

/** Absolute, relative, or in the nearest folder `miniprogram_npm` upwards. */
function locate (source, unit, target) {
  const places = target.startsWith('/')
    ? [target.slice(1)]
    : [path.posix.join(path.posix.dirname(unit), target), ...npmPlaces(unit, target)]
  const found = places.flatMap(place => [place, `${place}/index`])
    .find(place => source.has(`${place}.js`) && source.has(`${place}.wxml`))
  if (!found) throw new BuildError(`${unit}.json: there is no component ${target}`)
  return found
}

function npmPlaces (unit, target) {
  const folders = path.posix.dirname(unit).split('/')
  return folders.map((_, index) => folders.slice(0, folders.length - index))
    .concat([[]])
    .map(upwards => [...upwards, 'miniprogram_npm', target].join('/'))
}

function templates (source) {
  const group = new TmplGroup()
  for (const file of source.ending('.wxs')) group.addScript(bare(file), source.text(file))
  const problems = source.ending('.wxml').flatMap(file =>
    group.addTmpl(bare(file), source.text(file))
      .map(({ startLine, startColumn, message }) => `${file}:${startLine + 1}:${startColumn + 1} ${message}`))
  if (problems.length) throw new BuildError(problems.join('\n'))
  return group.getTmplGenObjectGroups()
}

/** What stands inside a built-in component: what the app put there, or nothing. */
function builtIns () {
  const group = new TmplGroup()
  group.addTmpl('container', '<slot/>')
  group.addTmpl('leaf', '')
  return group.getTmplGenObjectGroups()
}

function bare (file) {
  return file.slice(0, -path.extname(file).length)
}

function styles (source, app, units) {
  const sheets = { app: sheet(source, app, 'app', '') }
  for (const [unit, { scope }] of Object.entries(units)) sheets[unit] = sheet(source, app, unit, scope)
  return sheets
}

function sheet (source, app, unit, scope) {
  const file = `${unit}.wxss`
  if (!source.has(file)) return ''
  return inlined(source, file)
    .replace(/(-?[\d.]+)rpx\b/g, 'calc($1 * var(--rpx))')
    .replace(/(-?[\d.]+)vh\b/g, 'calc($1 * var(--vh))')
    .replace(/prefers-color-scheme:\s*dark/g, app.darkmode ? '$&' : 'color: 100') // a light app stays light
    .replace(/[^{};]+(?=\{)/g, selectors => selectors.trim().startsWith('@') ? selectors : rewritten(selectors, scope))
}

function inlined (source, file) {
  return source.text(file)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/@import\s+['"](.+?)['"]\s*;/g, (_, target) =>
      inlined(source, path.posix.join(target.startsWith('/') ? '' : path.posix.dirname(file), target)))
}

/** Classes as glass-easel writes them for an isolated component, tags as components.js does. */
function rewritten (selectors, scope) {
  const tagged = selectors.replace(new RegExp(`(^|[\\s,>+~])(${BUILT_IN.join('|')})(?![\\w-])`, 'g'), '$1wx-$2')
  return scope ? tagged.replace(/\.([a-z_][\w-]*)/gi, `.${scope}--$1`) : tagged
}

function modules (source) {
  return Object.fromEntries(source.ending('.js').map(file => [file, source.text(file)]))
}

function copyAssets (source, out) {
  for (const file of source.files.filter(file => !CODE.includes(path.extname(file)))) {
    const target = path.join(out, 'files', file)
    fs.mkdirSync(path.dirname(target), { recursive: true })
    fs.copyFileSync(path.join(source.root, file), target)
  }
}

function copyShell (out) {
  for (const file of ['index.html', 'shell.css']) fs.copyFileSync(path.join(HERE, file), path.join(out, file))
  esbuild.buildSync({
    entryPoints: [path.join(HERE, 'runtime.mjs')],
    outfile: path.join(out, 'runtime.js'),
    bundle: true,
    format: 'iife',
    sourcemap: 'inline',
    logLevel: 'error'
  })
}

try {
  build(...process.argv.slice(2).map(folder => path.resolve(folder)))
} catch (error) {
  if (!(error instanceof BuildError)) throw error
  console.error(error.message)
  process.exit(1)
}
