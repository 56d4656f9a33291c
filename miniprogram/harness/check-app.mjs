// Check a built mini-program with the parts of WeChat's own miniprogram-ci that need no network and no
// account: app.json and every page's .json by their schemas, with all components they name, and every
// script, template and style by the compiler that an upload uses. Prints what was compiled:
//
//   node check-app.mjs APP_FOLDER
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import ci from 'miniprogram-ci'

// What WeChat's server says of an ordinary mini-program.
const ATTRIBUTES = {
  platform: false,
  appType: 0,
  isSandbox: false,
  released: true,
  setting: {
    MaxCodeSize: 2,
    MaxSubpackageSubCodeSize: 2,
    MaxSubpackageFullCodeSize: 30,
    NavigateMiniprogramLimit: 10,
    MaxSubPackageLimit: 100,
    MinTabbarCount: 2,
    MaxTabbarCount: 5,
    MaxCustomTabbarCount: 10,
    MaxTabbarIconSize: 40
  }
}
const PLAIN = { es6: false, es7: false, minify: false, minifyJS: false, minifyWXML: false, minifyWXSS: false, autoPrefixWXSS: false }

ci.proxy('http://127.0.0.1:9') // no one listens there: no network

const projectPath = path.resolve(process.argv[2])
const { appid } = JSON.parse(fs.readFileSync(path.join(projectPath, 'project.config.json'), 'utf8'))
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'check-app-'))
const privateKeyPath = path.join(folder, 'key') // must exist, but is only used for uploads
fs.writeFileSync(privateKeyPath, 'no key')

try {
  const project = new ci.Project({ appid, type: 'miniProgram', projectPath, privateKeyPath, ignores: ['node_modules/**/*'] })
  project.attr = async () => ATTRIBUTES
  const app = await ci.getAppJSON(project)
  for (const pagePath of app.pages) await ci.getPageJSON(project, { miniprogramRoot: project.miniprogramRoot, pagePath })
  const compiled = await ci.compile(project, { setting: PLAIN, onProgressUpdate () {} })
  const sizes = Object.entries(compiled).map(([file, content]) => [file, Buffer.byteLength(content)])
  console.log(JSON.stringify({ pages: app.pages, files: Object.fromEntries(sizes) }))
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  fs.rmSync(folder, { recursive: true })
  process.exit() // its watcher of files never ends
}
