/* What only a real phone can tell. Each probe returns what it saw, in sentences without whole ids. */

const { logIn, send } = require('../../utils/server')
const { cloud, demoCode } = require('../../config')
const { call, describe, short } = require('./phone')

const { groups } = getApp()

const ONE_GROUP = '请从微信群里的卡片打开小程序，再做这一项'

/** Let the server know a session key, then seal the group with it. */
async function seal (name, options) {
  await groups.me()
  return call(name, options)
}

function envelopeOf ({ encryptedData, iv }) {
  return { encryptedData, iv }
}

function post (path, data) {
  return groups.request(path, { method: 'POST', data })
}

/** Return the id that the server reads from what a `wx` call gave. */
async function resolveBy (name, options) {
  const { result, failed } = await seal(name, options)
  if (failed) return { line: `${name}：${failed}` }
  if (!result.encryptedData) return { line: `${name}：成功，但没有 encryptedData` }
  const { openGId } = await post('/groups/resolve', envelopeOf(result))
  return { openGId, line: `${name}：解出 ${short(openGId)}，${openGId.length} 个字符` }
}

function entryOptions () {
  return wx.getEnterOptionsSync ? wx.getEnterOptionsSync() : {}
}

/** Return the open group's ranking around me, or null outside of a group. */
async function aroundMe () {
  const { group } = await groups.enter()
  return group && groups.around(group.openGId, { size: 25 })
}

const PROBES = [
  {
    key: 'client',
    title: '客户端',
    why: '微信还是企业微信，手机还是电脑',
    async run ({ renderer }) {
      const system = wx.getSystemInfoSync ? wx.getSystemInfoSync() : {}
      const base = wx.getAppBaseInfo ? wx.getAppBaseInfo() : system
      const device = wx.getDeviceInfo ? wx.getDeviceInfo() : system
      return [
        system.environment === 'wxwork' ? '企业微信' : '微信',
        `微信版本 ${base.version || '未知'}，基础库 ${base.SDKVersion || '未知'}`,
        `平台 ${device.platform || '未知'}，渲染 ${renderer || '未知'}`
      ]
    }
  },
  {
    key: 'ticket',
    title: '场景与 shareTicket',
    why: '场景 1008 没有 shareTicket 时，能不能知道是哪个群',
    async run () {
      const { scene, chatType, shareTicket } = entryOptions()
      const { result, failed } = await call('getGroupEnterInfo')
      return [
        `场景 ${scene}，chatType ${chatType === undefined ? '（无）' : chatType}`,
        shareTicket ? '有 shareTicket' : '没有 shareTicket',
        failed ? `getGroupEnterInfo：${failed}` : `getGroupEnterInfo：成功，${result.encryptedData ? '有' : '没有'} encryptedData`
      ]
    }
  },
  {
    key: 'watermark',
    title: '水印',
    why: 'getGroupEnterInfo 的密文里有没有水印',
    async run () {
      const { result, failed } = await seal('getGroupEnterInfo')
      if (failed) return [failed, ONE_GROUP]
      const { openGId } = await post('/groups/bind', envelopeOf(result))
      const { memberships } = await groups.request('/me/data')
      const membership = memberships.find(one => one.openGId === openGId)
      return [membership.watermarked ? '有水印' : '没有水印']
    }
  },
  {
    key: 'same',
    title: 'opengid 与 openGId',
    why: '两种调用得到的群标识是不是同一个',
    async run () {
      const { shareTicket } = entryOptions()
      const entered = await resolveBy('getGroupEnterInfo')
      if (!shareTicket) return [entered.line, '没有 shareTicket，无法用 getShareInfo 对照']
      const shared = await resolveBy('getShareInfo', { shareTicket })
      const lines = [entered.line, shared.line]
      if (!entered.openGId || !shared.openGId) return lines
      return lines.concat(entered.openGId === shared.openGId ? '两者相同' : '两者不同')
    }
  },
  {
    key: 'groupOpenId',
    title: 'needGroupOpenID',
    why: '微信给不给群内的成员标识',
    async run () {
      const { result, failed } = await seal('getGroupEnterInfo', { needGroupOpenID: true })
      if (failed) return [failed, ONE_GROUP]
      const { openGId } = await post('/groups/bind', envelopeOf(result))
      const { me } = await groups.around(openGId, { size: 1 })
      const { groupOpenId } = (me && me.member) || {}
      return [groupOpenId ? `有，${short(groupOpenId)}` : '没有']
    }
  },
  {
    key: 'cloudID',
    title: 'cloudID',
    why: '结果里有没有 cloudID',
    async run () {
      const { shareTicket } = entryOptions()
      const lines = []
      for (const [name, options] of [['getGroupEnterInfo', {}], ['getShareInfo', { shareTicket }]]) {
        const { result, failed } = await call(name, options)
        lines.push(`${name}：${failed || (result.cloudID ? `有，${result.cloudID.length} 个字符` : '没有')}`)
      }
      return lines
    }
  },
  {
    key: 'binary',
    title: '云托管的二进制上传',
    why: 'callContainer 能不能原样送出图片',
    // A picture that the server has to refuse, so that no avatar is replaced; above the 100 KiB of texts.
    async run () {
      if (!cloud) return ['config.js 里没有配置云托管']
      const bytes = new Uint8Array(150 * 1024)
      bytes.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
      const { result, failed } = await call('callContainer', {
        config: { env: cloud.env },
        path: '/api/v1/me/avatar',
        method: 'POST',
        header: { 'X-WX-SERVICE': cloud.service, 'content-type': 'image/png' },
        data: bytes.buffer
      }, wx.cloud)
      if (failed) return [failed]
      const { code } = result.data || {}
      return [`状态 ${result.statusCode}，${code || '没有 code'}`, '401 或 invalid 说明请求送到了服务端']
    }
  },
  {
    key: 'faces',
    title: 'open-data-list',
    why: '这个页面画不画得出群友的头像',
    async run ({ showFaces }) {
      const ranking = await aroundMe()
      if (!ranking) return [ONE_GROUP]
      const ids = ranking.entries.map(({ member }) => member.groupOpenId).filter(Boolean)
      if (!ids.length) return ['服务端还没有这个群的成员标识：先做 needGroupOpenID 这一项']
      showFaces(ids)
      return [`给了 ${ids.length} 个成员标识，请看下面有没有画出头像`]
    }
  },
  {
    key: 'notModified',
    title: '304',
    why: 'wx.request 怎样交出 304',
    // With a log-in of its own, because the client keeps its token to itself.
    async run () {
      const { group } = await groups.enter()
      if (!group) return [ONE_GROUP]
      const { result, failed } = await call('login')
      if (failed) return [failed]
      const token = await logIn(demoCode || result.code)
      const header = { authorization: `Bearer ${token}` }
      const path = `/groups/${group.openGId}/ranking`
      const first = await send(path, { header })
      const name = Object.keys(first.header).find(key => key.toLowerCase() === 'etag')
      if (!name) return [`状态 ${first.statusCode}，响应头里没有 ETag`]
      const again = await send(path, { header: Object.assign({ 'If-None-Match': first.header[name] }, header) })
      await send('/logout', { method: 'POST', header, data: {} })
      const body = typeof again.data === 'object' ? '对象' : `${String(again.data).length} 个字符`
      return [`响应头叫 ${name}`, `第二次状态 ${again.statusCode}，data 是${body}`]
    }
  }
]

/** Run one probe; resolves to its sentences, also if it fails. */
async function run (key, page) {
  try {
    return await PROBES.find(probe => probe.key === key).run(page)
  } catch (error) {
    return [`没有完成：${describe(error)}`]
  }
}

module.exports = { PROBES, run }
