/**
 * Probes of the client with a real site and a real sandbox, for any phone: the harness in a browser and
 * shim.mjs in Node have to give the same results. e2e/test_probes.py runs them on both.
 *
 * A phone has `wx`, `tapCard(chat, card?)`, `openOutside()`, `openSingle()`, `start()`, which gives a
 * client without a token, and `chats`, the names of chats by openGId.
 */

const TICKETLESS = { scene: 1008 }

/** Say where an entry led: the chat, or the reason. */
function place (phone, { group, reason }) {
  return group ? phone.chats[group.openGId] : reason
}

/** Run `work` while functions of `wx` are replaced. */
async function replacing (phone, functions, work) {
  const before = Object.assign({}, phone.wx)
  Object.assign(phone.wx, functions)
  try {
    return await work()
  } finally {
    for (const name of Object.keys(functions)) phone.wx[name] = before[name]
  }
}

async function enter (phone, groups = phone.start()) {
  return place(phone, await groups.enter())
}

/** Each probe with what it has to give. */
const PROBES = {
  'a card in a group': ['family', async phone => {
    await phone.tapCard('family')
    return enter(phone)
  }],
  'a card without a ticket': ['work', async phone => {
    await phone.tapCard('work', TICKETLESS)
    return enter(phone)
  }],
  'invalid scene, with a ticket and without': ['family no_ticket', async phone => {
    const getGroupEnterInfo = ({ fail }) => { fail({ errMsg: 'getGroupEnterInfo:fail invalid scene' }) }
    return replacing(phone, { getGroupEnterInfo }, async () => {
      await phone.tapCard('family')
      const withTicket = await enter(phone)
      await phone.tapCard('family', TICKETLESS)
      return `${withTicket} ${await enter(phone)}`
    })
  }],
  'two cards tapped quickly': ['family work', async phone => {
    const groups = phone.start()
    await phone.tapCard('family')
    const first = groups.enter()
    await phone.tapCard('work')
    const second = groups.enter()
    return `${place(phone, await first)} ${place(phone, await second)}`
  }],
  'outside a group, and in a chat of two': ['not_from_group single_chat', async phone => {
    await phone.openOutside()
    const outside = await enter(phone)
    await phone.openSingle()
    return `${outside} ${await enter(phone)}`
  }],
  'enter options that throw': ['not_from_group', async phone => {
    await phone.tapCard('family')
    const getEnterOptionsSync = () => { throw new Error('no options') }
    return replacing(phone, { getEnterOptionsSync }, () => enter(phone))
  }],
  "a gateway's page": ['unavailable', async phone => {
    await phone.tapCard('family')
    const request = ({ success }) => { success({ statusCode: 502, data: '<html>Bad Gateway</html>', header: {} }) }
    return replacing(phone, { request }, () => enter(phone))
  }],
  'a network that is away, and back': ['offline family', async phone => {
    await phone.tapCard('family')
    const groups = phone.start()
    const request = ({ fail }) => { fail({ errMsg: 'request:fail', errno: 600001 }) }
    const away = await replacing(phone, { request }, () => enter(phone, groups))
    return `${away} ${await enter(phone, groups)}`
  }],
  'the same opening after leave(), and the next card': ['family left_group family true', async phone => {
    await phone.tapCard('family')
    const groups = phone.start()
    const { group } = await groups.enter()
    await groups.leave(group.openGId)
    const left = await enter(phone, groups)
    await phone.tapCard('family')
    const again = await groups.enter()
    return [phone.chats[group.openGId], left, place(phone, again), again.created].join(' ')
  }],
  'the same opening after deleteMe(), and the next card': ['left_group 0 family true', async phone => {
    await phone.tapCard('family')
    const groups = phone.start()
    await groups.enter()
    await groups.deleteMe()
    let logins = 0
    const { login } = phone.wx
    const counting = options => { logins += 1; return login(options) }
    const deleted = await replacing(phone, { login: counting }, () => enter(phone, groups))
    await phone.tapCard('family')
    const again = await groups.enter()
    return [deleted, logins, place(phone, again), again.created].join(' ')
  }],
  'calls under way at deleteMe()': ['0 log-ins', async phone => {
    const groups = phone.start()
    await groups.me()
    let logins = 0
    const { login } = phone.wx
    const counting = options => { logins += 1; return login(options) }
    return replacing(phone, { login: counting }, async () => {
      const reading = [groups.me(), groups.boards(), groups.groups()].map(call => call.catch(error => error))
      await groups.deleteMe()
      await Promise.all(reading)
      return `${logins} log-ins`
    })
  }],
  'logout(), and the same opening': ['family family', async phone => {
    await phone.tapCard('family')
    const groups = phone.start()
    const before = await enter(phone, groups)
    await groups.logout({ everywhere: true })
    return `${before} ${await enter(phone, groups)}`
  }],
  'an envelope of the app, outside a group': ['work', async phone => {
    await phone.tapCard('work')
    const groups = phone.start()
    const envelope = () => new Promise((resolve, reject) => phone.wx.getGroupEnterInfo({ success: resolve, fail: reject }))
    return place(phone, await groups.enter({ scene: 1001, envelope }))
  }],
  'my id within the group, for its members': ['string string', async phone => {
    await phone.tapCard('family')
    const groups = phone.start()
    const { group } = await groups.enter()
    const { me } = await groups.ranking(group.openGId)
    const again = await groups.ranking(group.openGId)
    return `${typeof me.member.groupOpenId} ${typeof again.me.member.groupOpenId}`
  }],
  'an alias, hiding, and what the opening says of them': ['老王 true', async phone => {
    await phone.tapCard('family')
    const groups = phone.start()
    const { group } = await groups.enter()
    await groups.setAlias(group.openGId, '老王')
    await groups.hide(group.openGId)
    const { membership } = (await groups.enter()).group
    await groups.hide(group.openGId, false)
    return `${membership.alias} ${membership.hidden}`
  }],
  'consent, given and withdrawn': ['groups,nickname; nickname; left_group', async phone => {
    await phone.tapCard('family')
    const groups = phone.start()
    await groups.enter()
    const purposes = ({ consents }) => consents.map(({ purpose }) => purpose).sort().join()
    const given = purposes(await groups.consent({ purposes: ['nickname', 'groups'], version: '1' }))
    const left = purposes(await groups.consent({ withdraw: 'groups' }))
    return `${given}; ${left}; ${await enter(phone, groups)}`
  }],
  'errors of calls that cannot be': ['not_found invalid not_found', async phone => {
    const groups = phone.start()
    const code = call => call.then(() => 'none', error => error.code)
    return [
      await code(groups.group('tG-no-such-group-0000000000')),
      await code(groups.submitScore({ board: 'no-such-board', value: 'x' })),
      await code(groups.report('tG-no-such-group-0000000000', { member: '1', reason: 'other' }))
    ].join(' ')
  }]
}

/** Run every probe on a phone; return `{name: [expected, given]}`, an error as its text. */
export async function runProbes (phone) {
  const results = {}
  for (const [name, [expected, probe]] of Object.entries(PROBES)) {
    results[name] = [expected, await probe(phone).catch(error => String(error))]
  }
  return results
}
