// The calls that `make bench` measures, in bare Node with the SQL of sql/: what the site is compared
// with. It answers what the site answers; what the benchmarks do not send, it does not know.
//   node benchmarks/peer.mjs PORT   with the site's own environment
import crypto from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import pg from 'pg'

const { SECRET_KEY, FIELD_KEYS, WECHAT_APPS, WECHAT_API_URL, DATABASE_URL } = process.env
const [APP_ID, SECRET] = WECHAT_APPS.split(':')
const LIMIT = 50, AROUND = 5, PIECE = 50, NAMES_IN_A_TITLE = 2

// The database

pg.types.setTypeParser(20, Number) // bigint
pg.types.setTypeParser(1184, String) // timestamptz, to the microsecond: sorts as text
const pool = new pg.Pool({
  connectionString: DATABASE_URL, max: 4, options: '-c timezone=Asia/Shanghai'
})

// A file's statements, as pgbench takes them; a row that \gset keeps is known to those after it.
const load = (...names) => {
  const text = names.map(name => readFileSync(new URL(`sql/${name}.sql`, import.meta.url), 'utf8'))
  const parts = text.join('').replace(/^--.*\n/gm, '').matchAll(/([^;\\]+)(;|\\gset)/g)
  return [...parts].map(([, body, end], place) => {
    const columns = []
    const sql = body.trim().replace(/:([a-z]\w*)/g, (_all, name) => {
      if (!columns.includes(name)) columns.push(name)
      return `$${columns.indexOf(name) + 1}`
    })
    return { name: `${names.join('-')}-${place}`, text: sql, columns, keeps: end === '\\gset' }
  })
}

const run = async (client, statements, values) => {
  const answers = []
  for (const { name, text, columns, keeps } of statements) {
    const sent = columns.map(each => typeof values[each] === 'function' ? values[each](values) : values[each])
    const { rows } = await client.query(sent.length ? { name, text, values: sent } : text)
    if (keeps) {
      if (rows.length !== 1) throw new Missing()
      Object.assign(values, rows[0])
    }
    answers.push(rows)
  }
  return answers
}

const transact = async work => {
  const client = await pool.connect()
  try {
    return await work(client)
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

class Missing extends Error {}

const [RANKING] = load('by_token', 'standings')
const [PAGE] = load('by_link', 'standings')
const BIND = load('bind'), LOGIN = load('login'), SCORE = load('score'), BATCH = load('batch')
const board = (await pool.query('SELECT * FROM groups_board WHERE app_id = $1', [APP_ID])).rows[0]

// Secrets: Fernet, and Django's signatures

const [SIGNING, SEALING] = [0, 16].map(at => Buffer.from(FIELD_KEYS, 'base64url').subarray(at, at + 16))
const sha256 = text => crypto.createHash('sha256').update(text).digest('hex')
const hmac = (key, data) => crypto.createHmac('sha256', key).update(data).digest()
const salted = (salt, text) =>
  hmac(crypto.createHash('sha256').update(salt + SECRET_KEY).digest(), text)

const decrypt = stored => {
  const raw = Buffer.from(stored, 'base64url'), end = raw.length - 32
  if (!crypto.timingSafeEqual(hmac(SIGNING, raw.subarray(0, end)), raw.subarray(end))) throw new Missing()
  const cipher = crypto.createDecipheriv('aes-128-cbc', SEALING, raw.subarray(9, 25))
  return Buffer.concat([cipher.update(raw.subarray(25, end)), cipher.final()]).toString()
}

const encrypt = secret => {
  const head = Buffer.alloc(25)
  head[0] = 0x80
  head.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000)), 1)
  crypto.randomFillSync(head, 9)
  const cipher = crypto.createCipheriv('aes-128-cbc', SEALING, head.subarray(9))
  const sealed = Buffer.concat([head, cipher.update(secret), cipher.final()])
  return base64url(Buffer.concat([sealed, hmac(SIGNING, sealed)]))
}

const base64url = raw => raw.toString('base64').replace(/\+/g, '-').replace(/\//g, '_')
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const base62 = number => number ? base62(Math.floor(number / 62)) + BASE62[number % 62] : ''

const sign = (values, salt) => {
  const body = Buffer.from(JSON.stringify(values)).toString('base64url')
  const text = `${body}:${base62(Math.floor(Date.now() / 1000))}`
  return `${text}:${salted(`${salt}signer`, text).toString('base64url')}`
}

const unsign = (signed, salt) => {
  const end = signed.lastIndexOf(':'), text = signed.slice(0, end)
  const due = salted(`${salt}signer`, text), given = Buffer.from(signed.slice(end + 1), 'base64url')
  if (given.length !== due.length || !crypto.timingSafeEqual(given, due)) throw new Missing()
  return JSON.parse(Buffer.from(text.slice(0, text.indexOf(':')), 'base64url'))
}

// Periods and times of Asia/Shanghai

const DAY = 86400e3, SHIFT = 8 * 3600e3
const two = number => String(number).padStart(2, '0')
const date = at => at.toISOString().slice(0, 10)
const midnight = at => `${date(at)}T00:00:00.000+08:00`

const weekOf = monday => {
  const thursday = new Date(+monday + 3 * DAY), year = thursday.getUTCFullYear()
  return `${year}-W${two(1 + Math.floor((thursday - Date.UTC(year, 0, 1)) / DAY / 7))}`
}

// Of the week, the board's default window; made anew each day.
let today = -1, periods
const periodsNow = () => {
  const day = Math.floor((Date.now() + SHIFT) / DAY)
  if (day === today) return periods
  const now = new Date(day * DAY), monday = new Date((day - (now.getUTCDay() + 6) % 7) * DAY)
  const [before, after] = [-7, 7].map(days => new Date(+monday + days * DAY))
  const shown = {
    key: weekOf(monday), window: 'week', title: '本周', start: midnight(monday),
    end: midnight(after), previous: weekOf(before), next: null
  }
  today = day
  return (periods = { day: date(now), week: shown.key, month: date(now).slice(0, 7), shown })
}

const pad = fraction => `${fraction || ''}000`.slice(0, 3)
const stamp = text => text && `${text.slice(0, 10)}T${text.slice(11, 19)}.${pad(text.slice(20, -3))}+08:00`
const stampNow = ms => new Date(ms + SHIFT).toISOString().replace('Z', '+08:00')
const micros = text => Date.parse(`${text.slice(0, 10)}T${text.slice(11, 19)}+08:00`) * 1000 +
  Number(`${text.slice(20, -3)}000000`.slice(0, 6))

// Rankings

const separated = value => String(value).replace(/\B(?=(\d{3})+$)/g, ',')

const drawn = new Map()
const defaultAvatar = seed => {
  let name = drawn.get(seed)
  if (name === undefined) {
    if (drawn.size > 100000) drawn.clear()
    name = seed + salted('accounts.default-avatar', seed).toString('hex').slice(0, 10)
    drawn.set(seed, name)
  }
  return name
}

const avatarPath = (key, seed, size = '') =>
  key ? `/media/avatars/${key}-${size ? 96 : 192}.webp` : `/avatars/${size}${defaultAvatar(seed)}.webp`

const compare = (a, b) => a < b ? -1 : a > b ? 1 : 0

const rank = (rows, column) => {
  const ranks = new Map()
  let shared = 0, last = null
  rows.forEach((row, place) => {
    if (row[column] !== last) shared = place + 1
    last = row[column]
    ranks.set(row.user_id, shared)
  })
  return ranks
}

const titleOf = (names, count) =>
  names.length === 0 ? `${count} 人的群` : count <= names.length ? names.join('、') : `${names.join('、')}等 ${count} 人`

const standings = async (statement, values, around) => {
  const { shown } = periodsNow()
  const parameters = { ...values, board: board.id, period: shown.key, before: shown.previous }
  const { rows } = await pool.query({
    name: statement.name, text: statement.text, values: statement.columns.map(name => parameters[name])
  })
  if (!rows.length) throw new Missing()
  const joined = (a, b) => compare(a.joined_at, b.joined_at) || a.user_id - b.user_id
  const listed = rows.filter(row => !row.is_hidden)
  const scored = listed.filter(row => row.value !== null)
    .sort((a, b) => b.value - a.value || compare(a.achieved_at, b.achieved_at) || joined(a, b))
  const order = scored.concat(listed.filter(row => row.value === null).sort(joined))
  const ranks = rank(scored, 'value')
  const had = listed.filter(row => row.value_before !== null)
  const before = rank(had.sort((a, b) => b.value_before - a.value_before), 'value_before')
  const me = rows.find(row => row.is_me)

  const standing = row => {
    const now = ranks.get(row.user_id), was = before.get(row.user_id)
    return {
      row,
      rank: now ?? null,
      movement: now === undefined ? null : was === undefined ? 'new' : was - now,
      nickname: (row.is_me ? row.own_name : row.name) || '微信用户',
      text: row.value === null ? null : separated(row.value)
    }
  }
  let first = 0, last = LIMIT
  if (around) {
    const mine = order.indexOf(me)
    ;[first, last] = mine < 0 ? [0, 0] : [Math.max(0, mine - around), mine + around + 1]
  }
  const page = order.slice(first, last)
  let next = null
  if (page.length && last < order.length) {
    const end = page[page.length - 1], since = [micros(end.joined_at), end.user_id]
    const key = end.value === null ? [1, 0, 0, ...since] : [0, -end.value, micros(end.achieved_at), ...since]
    next = sign([shown.key, ...key], `groups.ranking.${end.group_id}.${board.id}`)
  }
  let percentile = null
  if (ranks.has(me.user_id)) {
    const others = listed.length - 1, mine = ranks.get(me.user_id)
    let notBelow = -1
    for (const each of ranks.values()) if (each <= mine) notBelow++
    percentile = others ? Math.floor(100 * (others - notBelow) / others) : 100
  }
  const names = rows.filter(row => row.name && !row.is_hidden).sort(joined)
    .slice(0, NAMES_IN_A_TITLE).map(row => row.name)
  const title = me.label || titleOf(names, rows.length)
  return {
    title, count: rows.length, total: listed.length, percentile, next, me: standing(me),
    entries: page.map(standing), absent: me.is_hidden ? 'hidden' : null, open_gid: me.open_gid, shown
  }
}

const rankingJson = (found, base) => {
  const entry = ({ row, rank, movement, nickname, text }) => ({
    rank, movement,
    member: {
      id: String(row.user_id), nickname, avatar: base + avatarPath(row.avatar, row.avatar_seed),
      groupOpenId: row.group_openid || null
    },
    score: row.value, scoreText: text, achievedAt: stamp(row.achieved_at), isMe: row.is_me
  })
  return {
    group: { openGId: found.open_gid, title: found.title, memberCount: found.count },
    board: {
      key: board.key, title: board.title_zh, order: board.order, unit: board.unit_zh,
      decimals: board.decimals, scope: board.scope
    },
    period: found.shown, serverTime: stampNow(Date.now()), total: found.total,
    percentile: found.percentile, entries: found.entries.map(entry), me: entry(found.me),
    absent: found.absent, next: found.next
  }
}

// The members' page, of strings

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#x27;' }
const escape = text => text.replace(/[&<>"']/g, each => ENTITIES[each])

const move = movement => movement === 'new'
  ? '<span class="up">新</span>'
  : movement > 0
    ? `<span class="up"><span class="visually-hidden">上升 </span><span aria-hidden="true">▲</span>${separated(movement)}</span>`
    : movement < 0
      ? `<span class="down"><span class="visually-hidden">下降 </span><span aria-hidden="true">▼</span>${separated(-movement)}</span>`
      : movement === 0 ? '<span class="visually-hidden">名次不变</span><span class="same" aria-hidden="true">–</span>' : ''

const item = ({ row, rank, movement, nickname, text }, size, loading, link, id) => {
  const [open, close] = row.is_me && link
    ? [`<a class="name" href="${link}" title="跳到我的名次">`, '</a>'] : ['<span class="name">', '</span>']
  return `<li class="${row.is_me ? 'me ' : ''}place-${rank ?? 'none'}"${id ? ' id="me"' : ''}>
  <span class="rank">${rank ? `<span class="visually-hidden">名次 </span>${separated(rank)}` : '<span class="visually-hidden">暂无名次</span><span aria-hidden="true">–</span>'}</span>
  <span class="move">${move(movement)}</span>
  <img src="${avatarPath(row.avatar, row.avatar_seed, size > 48 ? '' : '96/')}" width="${size}" height="${size}" alt="" loading="${loading}" decoding="async">
  ${open}<bdi>${escape(nickname)}</bdi>${row.is_me ? '<span class="tag">我</span>' : ''}${close}
  <span class="score">${text || '<span class="visually-hidden">暂无得分</span><span aria-hidden="true">–</span>'}</span>
</li>`
}

const pageHtml = found => {
  const { entries, shown, me } = found
  const ranked = entries.slice(0, 3).filter(each => each.rank !== null)
  const aboveMe = entries[entries.findIndex(each => each.row.is_me) - 1]
  const list = (each, ...how) => each.map(one => item(one, ...how, one === aboveMe)).join('')
  const rest = entries.slice(ranked.length)
  const tabs = [['day', '今日'], ['week', '本周'], ['month', '本月'], ['all', '总榜']].map(([window, title]) =>
    `<a href="?period=${window}"${window === 'week' ? ' aria-current="page"' : ''}>${title}</a>`).join('\n    ')
  const title = escape(found.title), boardTitle = escape(board.title_zh)
  const mine = entries.some(each => each.row.is_me) ? '' : `<ol role="list" class="card rows mine" aria-label="我的名次">${item(me, 40, 'eager', `?period=${shown.key}&amp;around=#me`, false)}</ol>`
  return `<!doctype html>
<html lang="zh-hans">
  <head>
    <meta charset="utf-8">
    <title>${title} · ${boardTitle}</title>
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <meta name="theme-color" content="#f4f5f7" media="(prefers-color-scheme: light)">
    <meta name="theme-color" content="#0f1114" media="(prefers-color-scheme: dark)">
    <meta name="robots" content="noindex">
    <link rel="icon" href="/static/favicon.svg">
    <link rel="stylesheet" href="/static/site.css">
  </head>
  <body>
  <main${entries[0]?.row.is_me ? ' id="me"' : ''}>
    <p class="soft">${boardTitle} · ${shown.title}</p>
    <h1><bdi>${title}</bdi></h1>
    <p class="soft">${separated(found.total)} 人参与 · ${stampNow(Date.now()).slice(11, 16)} 更新</p>
    <nav class="tabs" aria-label="时间范围">
    ${tabs}
    </nav>
    <ol role="list" class="podium">${list(ranked, 72, 'eager', '')}</ol>
    ${rest.length ? `<ol role="list" class="card rows">${list(rest, 40, 'lazy', '#me')}</ol>` : ''}
    ${found.next ? `<nav class="pager" aria-label="翻页"><a rel="next" href="?period=${shown.key}&amp;cursor=${encodeURIComponent(found.next)}">下一页</a></nav>` : ''}
    <nav class="pager plain" aria-label="其他周期"><a rel="prev" href="?period=${shown.previous}"><span aria-hidden="true">‹</span> 上周</a></nav>
    ${mine}
    <p class="soft foot">仅展示参与的成员；你可以在小程序里隐藏自己或退出排行。</p>
  </main>
  </body>
</html>
`
}

// Writes

const userJson = (row, base) => ({
  id: String(row.user_id), nickname: row.nickname, nicknameState: row.nickname_state,
  avatar: base + avatarPath(row.avatar, row.avatar_seed), avatarState: row.avatar_state,
  profileComplete: Boolean(row.nickname && row.avatar)
})

const unseal = (sessionKey, { encryptedData, iv }) => {
  const cipher = crypto.createDecipheriv(
    'aes-128-cbc', Buffer.from(sessionKey, 'base64'), Buffer.from(iv, 'base64'))
  const opened = Buffer.concat([cipher.update(Buffer.from(encryptedData, 'base64')), cipher.final()])
  const payload = JSON.parse(opened), { appid, timestamp } = payload.watermark
  const age = Date.now() / 1000 - timestamp
  if (appid !== APP_ID || age < -60 || age > 300) throw new Missing()
  if (!/^[A-Za-z0-9_-]{20,64}$/.test(payload.openGId)) throw new Missing()
  return payload.openGId
}

const bind = async (digest, body, base) => {
  const values = { digest, open_gid: row => unseal(decrypt(row.session_key), body) }
  await transact(client => run(client, BIND, values))
  const openGId = values.open_gid(values), names = values.names ? values.names.split('、') : []
  const membership = {
    joinedAt: stamp(values.joined_at), verifiedAt: stamp(values.verified_at),
    hidden: values.is_hidden, alias: values.alias, aliasState: values.alias_state
  }
  const title = values.label || titleOf(names, values.members)
  return {
    created: false, openGId,
    group: { openGId, title, memberCount: values.members, membership },
    membership, user: userJson(values, base)
  }
}

const upstream = new http.Agent({ keepAlive: true })
const askWeChat = code => new Promise((resolve, reject) => {
  const query = new URLSearchParams({
    appid: APP_ID, secret: SECRET, js_code: code, grant_type: 'authorization_code'
  })
  http.get(`${WECHAT_API_URL}/sns/jscode2session?${query}`, { agent: upstream }, async answer => {
    try { resolve(JSON.parse(await read(answer))) } catch (error) { reject(error) }
  }).on('error', reject)
})

const logIn = async (body, base) => {
  const { openid, unionid, session_key: key } = await askWeChat(body.code)
  if (!openid) throw new Missing()
  const token = crypto.randomBytes(32).toString('base64url')
  const values = {
    app_id: APP_ID, openid, unionid, new_digest: sha256(token),
    sealed: row => (row.resealed ??= decrypt(row.session_key) === key ? row.session_key : encrypt(key))
  }
  await transact(client => run(client, LOGIN, values))
  return { token, expiresAt: stamp(values.expires_at), user: userJson(values, base) }
}

const results = (rows, value) => {
  const by = new Map(rows.map(row => [row.period, row.value])), { day, week, month } = periodsNow()
  return [day, week, month, 'all'].map(key => ({ key, value: by.get(key), changed: value !== 0 }))
}

const submit = async (digest, body) => {
  if (!Number.isSafeInteger(body.value) || body.board !== board.key) throw new Missing()
  const { day, week, month } = periodsNow()
  const values = { digest, board: board.id, value: body.value, day, week, month }
  const answers = await transact(client => run(client, SCORE, values))
  return { board: board.key, periods: results(answers[3], body.value) }
}

const submitBatch = async (digest, { scores }) => {
  const { rows } = await pool.query({
    name: 'key', text: 'SELECT id FROM groups_serverkey WHERE digest = $1 AND revoked_at IS NULL', values: [digest]
  })
  if (!rows.length) throw new Missing()
  const { day, week, month } = periodsNow(), written = []
  for (let start = 0; start < scores.length; start += PIECE) {
    const piece = scores.slice(start, start + PIECE)
    const values = {
      app_id: APP_ID, board: board.id, day, week, month,
      openids: piece.map(row => row.openid), values: piece.map(row => row.value),
      keys: piece.map(row => row.idempotencyKey),
      digests: piece.map(row => sha256(JSON.stringify([APP_ID, row.board, row.value, null])))
    }
    written.push(...await transact(async client => {
      const before = await run(client, BATCH.slice(0, 4), values)
      const people = new Map(before[1].map(row => [row.openid, row.id])), by = new Map()
      for (const row of before[3]) by.set(row.user_id, [...by.get(row.user_id) ?? [], row])
      const answers = piece.map(row => results(by.get(people.get(row.openid)), row.value))
      values.answers = answers.map(each => JSON.stringify(each.map(Object.values)))
      await run(client, BATCH.slice(4), values)
      return answers
    }))
  }
  return { results: scores.map(({ openid }, place) => ({ openid, board: board.key, periods: written[place] })) }
}

// HTTP

const read = async stream => {
  const parts = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts).toString()
}

const answer = async request => {
  const { method, url, headers } = request, path = url.split('?')[0].split('/')
  const base = `${headers['x-forwarded-proto'] ?? 'http'}://${headers.host}`
  const digest = () => sha256((headers.authorization ?? '').split(' ')[1] ?? '')
  if (method === 'GET' && path[3] === 'groups' && path[5] === 'ranking') {
    const values = { digest: digest(), open_gid: path[4] }
    return rankingJson(await standings(RANKING, values, path[6] === 'around' ? AROUND : 0), base)
  }
  if (method === 'GET' && path[1] === 'g') {
    const [user_id, group_id] = unsign(decodeURIComponent(path[2]), 'groups.link')
    return pageHtml(await standings(PAGE, { user_id, group_id }))
  }
  if (method === 'GET') return {}
  const body = JSON.parse(await read(request))
  switch (path.slice(3).join('/')) {
    case 'groups/bind': return bind(digest(), body, base)
    case 'login': return logIn(body, base)
    case 'scores': return submit(digest(), body)
    case 'server/scores': return submitBatch(digest(), body)
  }
  throw new Missing()
}

http.createServer(async (request, response) => {
  try {
    const found = await answer(request), isPage = typeof found === 'string'
    const text = Buffer.from(isPage ? found : JSON.stringify(found))
    const type = isPage ? 'text/html; charset=utf-8' : 'application/json'
    response.writeHead(200, { 'Content-Type': type, 'Content-Length': text.length }).end(text)
  } catch (error) {
    const text = String(error.stack)
    response.writeHead(error instanceof Missing ? 404 : 500, { 'Content-Length': Buffer.byteLength(text) }).end(text)
  }
}).listen(Number(process.argv[2]), '127.0.0.1')
