/** The npm package as others get it: packed, and installed into an empty project without network. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
export const PACKAGE = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

/** Run a command in a folder; return its output, or throw an error with all of it. */
export function run (cwd, command, ...parameters) {
  try {
    return execFileSync(command, parameters, { cwd, encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    throw new Error(`${command} ${parameters.join(' ')}\n${error.stdout}${error.stderr}`)
  }
}

/** Pack the kit; return the folder of an empty project with it, and what npm says of the tarball. */
export function installPacked (more = {}) {
  const project = mkdtempSync(join(tmpdir(), 'groupsite-packed-'))
  after(() => rmSync(project, { recursive: true }))
  const [tarball] = JSON.parse(run(ROOT, 'npm', 'pack', '--json', '--pack-destination', project))
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'a-mini-program', private: true, ...more }))
  run(project, 'npm', 'install', '--offline', '--no-audit', '--no-fund', join(project, tarball.filename))
  return { project, tarball }
}
