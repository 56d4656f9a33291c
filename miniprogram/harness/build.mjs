// Build a native mini-program into static files that a browser can open.
//
//   node build.mjs APP_FOLDER OUT_FOLDER
//
// WeChat's own compiler compiles the templates; its warnings are errors here.
import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import esbuild from 'esbuild'
import { BUILT_IN } from './built-in.mjs'

const { TmplGroup } = createRequire(import.meta.url)('glass-easel-template-compiler')

const HERE = path.dirname(fileURLToPath(import.meta.url))
const IGNORED_FOLDERS = ['node_modules', '.git']
const CODE_EXTENSIONS = ['.js', '.json', '.wxml', '.wxss', '.wxs', '.ts', '.md']

class BuildError extends Error {}

/** The files of an app's folder, by their relative path with slashes. */
class Source {
  constructor (root) {
    this.root = root
    this.files = fs.readdirSync(root, { recursive: true })
      .filter(file => !IGNORED_FOLDERS.some(name => file.split(path.sep).includes(name)))
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

  withExtension (...extensions) {
    return this.files.filter(file => extensions.includes(path.extname(file)) && !file.endsWith('.d.ts'))
  }
}

function build (folder, out) {
  const source = new Source(folder)
  const app = source.json('app.json')
  const units = findUnits(source, app)
  const modules = Object.fromEntries(source.withExtension('.js').map(file => [file, source.text(file)]))
  const expressions = {
    app: JSON.stringify(app),
    theme: JSON.stringify(app.themeLocation ? source.json(app.themeLocation) : {}),
    units: JSON.stringify(units),
    styles: JSON.stringify(styles(source, app, units)),
    modules: JSON.stringify(modules),
    templates: templates(source),
    builtIns: builtIns()
  }
  const lines = Object.entries(expressions).map(([name, expression]) => `  ${name}: ${expression}`)
  fs.mkdirSync(out, { recursive: true })
  fs.writeFileSync(path.join(out, 'app.js'), `window.miniProgram = {\n${lines.join(',\n')}\n}\n`)
  copyAssets(source, out)
  copyShell(out)
}

/** Return all pages and the components they use: `{path: {config, isPage, scope}}`. */
function findUnits (source, app) {
  const units = {}
  const visit = (unit, isPage) => {
    if (units[unit]) return
    const config = source.json(`${unit}.json`)
    const using = Object.assign({}, app.usingComponents, config.usingComponents)
    for (const name of Object.keys(using)) using[name] = `/${resolveComponent(source, unit, using[name])}`
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

/** Resolve an absolute path, a relative one, or a package in the nearest `miniprogram_npm` above. */
function resolveComponent (source, unit, target) {
  const candidates = target.startsWith('/')
    ? [target.slice(1)]
    : [path.posix.join(path.posix.dirname(unit), target), ...npmPaths(unit, target)]
  const found = candidates.flatMap(candidate => [candidate, `${candidate}/index`])
    .find(candidate => source.has(`${candidate}.js`) && source.has(`${candidate}.wxml`))
  if (!found) throw new BuildError(`${unit}.json: there is no component ${target}`)
  return found
}

function npmPaths (unit, target) {
  const folders = path.posix.dirname(unit).split('/')
  return folders.map((_, index) => folders.slice(0, folders.length - index))
    .concat([[]])
    .map(parents => [...parents, 'miniprogram_npm', target].join('/'))
}

function templates (source) {
  const group = new TmplGroup()
  for (const file of source.withExtension('.wxs')) group.addScript(withoutExtension(file), source.text(file))
  const problems = source.withExtension('.wxml').flatMap(file =>
    group.addTmpl(withoutExtension(file), source.text(file))
      .map(({ startLine, startColumn, message }) => `${file}:${startLine + 1}:${startColumn + 1} ${message}`))
  if (problems.length) throw new BuildError(problems.join('\n'))
  return group.getTmplGenObjectGroups()
}

/** Return the templates of built-in components: with the app's content, or empty. */
function builtIns () {
  const group = new TmplGroup()
  group.addTmpl('container', '<slot/>')
  group.addTmpl('leaf', '')
  return group.getTmplGenObjectGroups()
}

function withoutExtension (file) {
  return file.slice(0, -path.extname(file).length)
}

function styles (source, app, units) {
  const sheets = { app: styleSheet(source, app, 'app', '') }
  for (const [unit, { scope, isPage }] of Object.entries(units)) {
    const sheet = styleSheet(source, app, unit, scope)
    // All pages are in one document here, and in WeChat each is in one of its own.
    sheets[unit] = isPage && sheet ? `@scope ([data-page="${unit}"]) {\n${sheet}\n}` : sheet
  }
  return sheets
}

function styleSheet (source, app, unit, scope) {
  const file = `${unit}.wxss`
  if (!source.has(file)) return ''
  return inlineImports(source, file)
    .replace(/(-?[\d.]+)rpx\b/g, 'calc($1 * var(--rpx))')
    .replace(/(-?[\d.]+)vh\b/g, 'calc($1 * var(--vh))')
    .replace(/prefers-color-scheme:\s*dark/g, app.darkmode ? '$&' : 'color: 100') // a light app stays light
    .replace(/[^{};]+(?=\{)/g, selectors => selectors.trim().startsWith('@') ? selectors : scopeSelectors(selectors, scope))
}

function inlineImports (source, file) {
  return source.text(file)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/@import\s+['"](.+?)['"]\s*;/g, (_, target) =>
      inlineImports(source, path.posix.join(target.startsWith('/') ? '' : path.posix.dirname(file), target)))
}

/** Rename classes as glass-easel does for an isolated component, and built-in tags to `wx-…`. */
function scopeSelectors (selectors, scope) {
  const tagged = selectors.replace(new RegExp(`(^|[\\s,>+~])(${BUILT_IN.join('|')})(?![\\w-])`, 'g'), '$1wx-$2')
  return scope ? tagged.replace(/\.([a-z_][\w-]*)/gi, `.${scope}--$1`) : tagged
}

function copyAssets (source, out) {
  for (const file of source.files.filter(file => !CODE_EXTENSIONS.includes(path.extname(file)))) {
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
