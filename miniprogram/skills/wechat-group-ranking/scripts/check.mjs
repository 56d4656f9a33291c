// Check a mini-program's folder before anyone opens it: offline, without dependencies, read-only.
//
//   node check.mjs FOLDER
//
// It prints findings with their fix, and exits with 1 if one of them is an error.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const NOT_OURS = ['node_modules', 'miniprogram_npm', 'dist', 'unpackage', '.git', 'skills', '.agents']
const CODE = ['.js', '.mjs', '.cjs', '.ts', '.jsx', '.tsx', '.vue', '.wxs']
const TEXT = [...CODE, '.json', '.wxml']
const KIT = /group-ranking\/texts\.js$/
const OURS = /groupsite\/|group-(ranking|profile)/

const SECRETS = [
  [/\bgsk_[\w-]{8,}/, 'a server key'],
  [/['"`]Key\s+(\$\{|[\w-]{16,}|['"`]\s*\+)/, 'an Authorization header with a server key'],
  [/\/server\/(scores|users|sessions|groups)\b/, 'a call of the API for servers'],
  [/\b(app_?secret|wechat_?secret)['"]?\s*[:=]\s*['"`]\w{8,}/i, 'an AppSecret'],
  [/\bsecret['"]?\s*[:=]\s*['"`][0-9a-f]{32}['"`]/i, 'an AppSecret'],
  [/api\.weixin\.qq\.com|jscode2session/, "a call of WeChat's server API, which needs the AppSecret"],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----/, 'a private key']
]

const DECLARED = [
  [/chooseAvatar|type=["']nickname["']|group-profile|\.uploadAvatar\(|\.setNickname\(/, '昵称、头像',
    'nickname and avatar are collected'],
  [/setClipboardData|getClipboardData/, '剪切板', 'the clipboard is used'],
  [/\b(chooseImage|chooseMedia|chooseVideo)\b/, '选中的照片或视频信息', 'pictures are chosen'],
  [/\bgetWeRunData\b/, '微信运动步数', 'steps are read']
]

const FORCED_SHARE = /(分享|转发)[^'"`\n]{0,6}(后才|才能|即可(解锁|领取|获得)|后可(解锁|领取|查看)|得(奖励|积分|红包))/

/** The mini-program in a folder: its files, its app's configuration, its pages. */
class Project {
  constructor (root) {
    this.root = root
    const files = fs.readdirSync(root, { recursive: true })
      .map(file => file.split(path.sep).join('/'))
      .filter(file => !file.split('/').some(part => NOT_OURS.includes(part)))
      .filter(file => fs.statSync(path.join(root, file)).isFile())
    // The kit itself, where its folder was copied.
    const kits = files.filter(file => KIT.test(file)).map(file => file.replace(KIT, ''))
    this.files = files.filter(file => !kits.some(kit => file.startsWith(kit)))
    this.texts = new Map(this.files
      .filter(file => TEXT.includes(path.extname(file)))
      .map(file => [file, withoutComments(fs.readFileSync(path.join(root, file), 'utf8'), path.extname(file))]))
    this.framework = frameworkOf(this)
    this.base = baseOf(this)
    Object.assign(this, readApp(this))
  }

  has (file) {
    return fs.existsSync(path.join(this.root, file))
  }

  json (file) {
    if (!this.has(file)) return {}
    const text = this.texts.get(file) || fs.readFileSync(path.join(this.root, file), 'utf8')
    try {
      return JSON.parse(text)
    } catch (error) {
      throw new Unreadable(`${file} is not JSON: ${error.message}`)
    }
  }

  /** Return the files that show a page: its own, its components', and what they import. */
  filesOf (page) {
    const found = new Set()
    const visit = file => {
      if (!file || found.has(file) || !this.texts.has(file)) return
      found.add(file)
      for (const target of this.targets(file)) visit(target)
    }
    for (const extension of [...TEXT, '.config.ts', '.config.js']) visit(`${page}${extension}`)
    return [...found]
  }

  targets (file) {
    const text = this.texts.get(file)
    const folder = path.posix.dirname(file)
    if (file.endsWith('.json')) {
      return Object.values(this.json(file).usingComponents || {}).flatMap(target => {
        const unit = target.startsWith('/') ? path.posix.join(this.base, target.slice(1)) : path.posix.join(folder, target)
        return [unit, `${unit}/index`].flatMap(each => TEXT.map(extension => each + extension))
      })
    }
    return [...text.matchAll(/(?:from|import|require\()\s*['"]([./@][^'"]*)['"]/g)].flatMap(([, target]) => {
      const unit = target.startsWith('@/') ? path.posix.join(this.base, target.slice(2)) : path.posix.join(folder, target)
      return [unit, ...CODE.map(extension => unit + extension), ...CODE.map(extension => `${unit}/index${extension}`)]
    })
  }

  /** Return `[file, line number, line]` of each line of the code. */
  * lines (extensions = CODE) {
    for (const [file, text] of this.texts) {
      if (!extensions.includes(path.extname(file))) continue
      const lines = text.split('\n')
      for (let index = 0; index < lines.length; index += 1) yield [file, index + 1, lines[index]]
    }
  }

  showsRanking (page) {
    return this.filesOf(page).some(file => {
      const text = this.texts.get(file)
      return /<(group-ranking|GroupRanking)\b/.test(text) || /\.(ranking|around)\(/.test(text)
    })
  }
}

class Unreadable extends Error {}

function frameworkOf (project) {
  const { dependencies, devDependencies } = project.json('package.json')
  const packages = Object.keys(Object.assign({}, dependencies, devDependencies))
  if (packages.some(name => name.startsWith('@tarojs/'))) return 'taro'
  if (packages.some(name => name.startsWith('@dcloudio/')) || project.has('pages.json')) return 'uni-app'
  return 'native'
}

/** Return the folder of the sources, relative to the project's. */
function baseOf (project) {
  if (project.framework === 'native') return (project.json('project.config.json').miniprogramRoot || '').replace(/^\.?\/|\/$/g, '')
  return project.has('src') ? 'src' : ''
}

function readApp (project) {
  const at = file => path.posix.join(project.base, file)
  const { appid } = project.json('project.config.json')
  if (project.framework === 'taro') {
    const config = ['app.config.ts', 'app.config.js'].map(at).find(file => project.has(file))
    if (!config) throw new Unreadable('there is no app.config.ts')
    const text = project.texts.get(config)
    const pages = [...((text.match(/pages\s*:\s*\[([^\]]*)\]/) || ['', ''])[1]).matchAll(/['"]([^'"]+)['"]/g)]
    const [, privacy] = text.match(/__usePrivacyCheck__['"]?\s*:\s*(true|false)/) || []
    return { config, appid, pages: pages.map(([, page]) => at(page)), privacy: privacy && privacy === 'true' }
  }
  const config = at(project.framework === 'native' ? 'app.json' : 'pages.json')
  if (!project.has(config)) throw new Unreadable(`there is no ${config}`)
  const app = project.json(config)
  const packages = [...(app.subPackages || []), ...(app.subpackages || [])]
  const listed = [...(app.pages || []), ...packages.flatMap(({ root, pages }) => pages.map(page =>
    typeof page === 'string' ? `${root}/${page}` : `${root}/${page.path}`))]
  const pages = listed.map(page => at(typeof page === 'string' ? page : page.path))
  const manifest = project.framework === 'native' ? app : (project.json(at('manifest.json'))['mp-weixin'] || {})
  return { config, pages, appid: manifest.appid || appid, privacy: manifest.__usePrivacyCheck__ }
}

/** Blank comments out, so that line numbers stay; strings are left as they are. */
function withoutComments (text, extension) {
  const blank = comment => comment.replace(/[^\n]/g, ' ')
  const html = ['.wxml', '.vue'].includes(extension) ? text.replace(/<!--[\s\S]*?-->/g, blank) : text
  if (extension === '.wxml') return html
  return html.replace(/'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    found => /^\/[/*]/.test(found) ? blank(found) : found)
}

// The rules: each yields `[level, rule, place, text, fix]`.

function * pages (project) {
  const { config } = project
  const shown = project.pages.filter(page => project.showsRanking(page))
  const reached = new Set(project.pages.flatMap(page => project.filesOf(page)))
  for (const [file, text] of project.texts) {
    if (!reached.has(file) && /<(group-ranking|GroupRanking)\b/.test(text)) {
      yield ['error', 'page', file, `shows the ranking, but no page of ${config} leads to it`,
        `add its page to "pages" in ${config}`]
    }
  }
  if (!shown.length) {
    yield ['error', 'page', config, 'no page shows a ranking', 'add the page with <group-ranking/>']
  }
  const code = shown.map(page => project.filesOf(page).map(file => project.texts.get(file)).join('\n'))
  const shared = code.filter(text => /\b(on|use)ShareAppMessage\s*[(:=]/.test(text))
  if (shown.length && !shared.length) {
    yield ['error', 'share', shown[0], 'cannot be shared: there is no onShareAppMessage',
      'return groups.share({ title }) from onShareAppMessage (Taro: useShareAppMessage)']
  } else if (shared.length && !shared.some(text => /\.share\(/.test(text))) {
    yield ['warning', 'share', shown[0], 'its card may have no shareTicket, so it would lead to no group',
      'return groups.share({ title }) from onShareAppMessage']
  }
}

function * components (project) {
  for (const [file] of project.texts) {
    const using = file.endsWith('.json') ? usingIn(project.json(file)) : usingInCode(project.texts.get(file))
    for (const target of using) {
      if (!OURS.test(target)) continue
      const problem = unresolved(project, file, target)
      if (problem) yield ['error', 'component', file, `"${target}" is not there`, problem]
    }
  }
}

/** Return the components that JSON names, at any depth: uni-app has them in the styles of pages. */
function usingIn (json) {
  if (!json || typeof json !== 'object') return []
  const own = Object.values(json.usingComponents || {}).filter(target => typeof target === 'string')
  return [...own, ...Object.values(json).flatMap(usingIn)]
}

function usingInCode (text) {
  if (!/\busingComponents\b/.test(text)) return []
  return [...text.matchAll(/:\s*['"]([^'"]*\/[^'"]*)['"]/g)].map(([, target]) => target)
}

function unresolved (project, file, target) {
  const { base, framework } = project
  const folder = path.posix.dirname(file)
  const exists = unit => ['', '/index'].some(end => project.has(`${unit}${end}.wxml`) || project.has(`${unit}${end}.js`))
  const relative = target.startsWith('/') ? path.posix.join(base, target) : path.posix.join(folder, target)
  if (exists(relative) || exists(path.posix.join('node_modules', target)) && framework === 'taro') return null
  if (framework !== 'native') return 'copy the kit as the reference says, or correct the path'
  for (let up = folder; ; up = path.posix.dirname(up)) {
    if (exists(path.posix.join(up, 'miniprogram_npm', target))) return null
    if (up === '.' || up === '') break
  }
  return project.has(path.posix.join('node_modules', target.split('/')[0])) ||
    project.has(path.posix.join(base, 'node_modules', target.split('/')[0]))
    ? 'choose 工具 → 构建 npm in the developer tools'
    : 'install the kit with npm, then choose 工具 → 构建 npm; or correct the path'
}

function * client (project) {
  let found = false
  for (const [file, text] of project.texts) {
    if (!CODE.includes(path.extname(file))) continue
    for (const match of text.matchAll(/\bcreateGroups\s*\(/g)) {
      found = true
      const call = balanced(text, match.index + match[0].length)
      const line = text.slice(0, match.index).split('\n').length
      if (!/\bbaseUrl\b/.test(call)) {
        yield ['error', 'client', `${file}:${line}`, 'createGroups has no baseUrl',
          "pass { baseUrl }: the server's address, or one each for develop, trial and release"]
      }
    }
  }
  if (!found) {
    yield ['error', 'client', project.config, 'nothing calls createGroups',
      'create the client once, before the first page']
  }
}

/** Return the text from `start` to the parenthesis that closes the one before it. */
function balanced (text, start) {
  let depth = 1
  for (let index = start; index < text.length; index += 1) {
    if (text[index] === '(') depth += 1
    if (text[index] === ')') depth -= 1
    if (depth === 0) return text.slice(start, index)
  }
  return text.slice(start)
}

function * addresses (project) {
  for (const [file, number, line] of project.lines()) {
    for (const [, address] of line.matchAll(/['"`](http:\/\/[^'"`]*)/g)) {
      if (/^http:\/\/www\.w3\.org\//.test(address) || /\bdevelop['"]?\s*[:=]/.test(line)) continue
      const isServer = /createGroups|baseUrl/.test(project.texts.get(file))
      yield [isServer ? 'error' : 'warning', 'http', `${file}:${number}`,
        `${address} is not HTTPS: released mini-programs cannot call it`,
        'write { develop: \'http://…\', trial: \'https://…\', release: \'https://…\' }, or use HTTPS']
    }
    if (/https?:\/\/[^'"`/]*(\.example\.(com|org)|example\.com|你的域名)/.test(line)) {
      yield ['warning', 'address', `${file}:${number}`, 'the server\'s address is still the example\'s',
        'ask the owner for the address; never invent one']
    }
    if (/\bdemoCode\b[^=]*[:=]\s*['"`][^'"`]/.test(line)) {
      yield ['warning', 'demo', `${file}:${number}`, 'everyone is the demo\'s Alice', "set demoCode to '' before a release"]
    }
  }
}

function * secrets (project) {
  for (const file of project.files) {
    if (/(^|\/)private\.\w+\.key$/.test(file)) {
      yield ['error', 'secret', file, 'is the key for uploading code', 'keep it outside of the project\'s folder']
    }
  }
  for (const [file, number, line] of project.lines(TEXT)) {
    for (const [pattern, what] of SECRETS) {
      if (!pattern.test(line)) continue
      yield ['error', 'secret', `${file}:${number}`, `holds ${what}: everyone can read a mini-program's code`,
        'move it to your server; revoke it if it was ever published']
    }
  }
}

function * privacy (project) {
  const fix = `set "__usePrivacyCheck__": true in ${project.framework === 'uni-app' ? 'manifest.json → mp-weixin' : project.config}`
  if (project.privacy === false) yield ['error', 'privacy', project.config, 'switches WeChat\'s privacy check off', fix]
  if (project.privacy === undefined) yield ['warning', 'privacy', project.config, 'does not name WeChat\'s privacy check', fix]
  const all = [...project.texts.values()].join('\n')
  yield ['note', 'privacy', '用户隐私保护指引', 'groups and ids are collected', 'declare them as custom entries (自定义): docs/privacy.md has the texts']
  for (const [pattern, entry, what] of DECLARED) {
    if (pattern.test(all)) yield ['note', 'privacy', '用户隐私保护指引', what, `declare 「${entry}」`]
  }
}

function * rules (project) {
  for (const [file, number, line] of project.lines(TEXT)) {
    if (FORCED_SHARE.test(line)) {
      yield ['warning', 'sharing', `${file}:${number}`, 'may force or reward sharing, which WeChat forbids (诱导分享)',
        'let people share because they want to']
    }
  }
  if (!project.appid || project.appid === 'touristappid') {
    yield ['note', 'appid', project.config, 'there is no appid of its own', 'ask the owner; without one only the demo works']
  }
}

/** Return all findings about the mini-program in a folder, errors first. */
export function check (folder) {
  const levels = ['error', 'warning', 'note']
  try {
    const project = new Project(folder)
    const findings = [pages, components, client, addresses, secrets, privacy, rules].flatMap(rule => [...rule(project)])
    return findings.sort((one, other) => levels.indexOf(one[0]) - levels.indexOf(other[0]))
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return [['error', 'app', folder, error.message, 'name the folder of the mini-program']]
  }
}

function main (folder = '.') {
  const findings = check(folder)
  for (const [level, rule, place, text, fix] of findings) {
    console.log(`${level.padEnd(8)}${rule.padEnd(10)} ${place} ${text}\n${' '.repeat(19)}→ ${fix}`)
  }
  const errors = findings.filter(([level]) => level === 'error').length
  console.log(errors ? `${errors} to fix 需要修复` : 'No errors 没有错误')
  process.exitCode = errors ? 1 : 0
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) main(process.argv[2])
