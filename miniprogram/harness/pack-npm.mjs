// Run 构建 npm as WeChat's developer tools do, without network or account:
//
//   node pack-npm.mjs APP_FOLDER
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import ci from 'miniprogram-ci'

const projectPath = path.resolve(process.argv[2])
const { appid } = JSON.parse(fs.readFileSync(path.join(projectPath, 'project.config.json'), 'utf8'))
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pack-npm-'))
const privateKeyPath = path.join(folder, 'key') // must exist, but is only used for uploads
fs.writeFileSync(privateKeyPath, '')

const project = new ci.Project({ appid, type: 'miniProgram', projectPath, privateKeyPath, ignores: ['node_modules/**/*'] })
const warnings = await ci.packNpm(project, { reporter: () => {} })
fs.rmSync(folder, { recursive: true })
if (warnings.length) {
  console.error(warnings.map(({ msg, jsPath }) => `${jsPath}: ${msg}`).join('\n'))
  process.exit(1)
}
