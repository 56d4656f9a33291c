// Add new attempts to the top of the list, every two seconds while the page is visible, and say
// whether that works: see #live.
const list = document.getElementById('attempts')
const states = document.querySelectorAll('#live [data-state]')

/** Show one of the sentences in #live, and no other. */
function say (state) {
  for (const each of states) each.hidden = each.dataset.state !== state
}

/** Load new attempts; return the state of the page after that. */
async function refresh () {
  const newest = list.querySelector('article')?.dataset.pk ?? 0
  // Signed out, the site redirects to the log-in.
  const response = await fetch(`${list.dataset.live}&since=${newest}`, { redirect: 'manual' })
  if (response.type === 'opaqueredirect') return 'ended'
  if (response.status === 401 || response.status === 403) return 'refused'
  if (!response.ok) return 'offline'
  if (response.status !== 200) return 'updating'
  const page = new DOMParser().parseFromString(await response.text(), 'text/html')
  list.prepend(...page.querySelectorAll('article'))
  document.getElementById('nothing')?.remove()
  for (const old of [...list.children].slice(30)) old.remove()
  return 'updating'
}

/** Write the minutes that are left of each watch; more than two hours stay as they were. */
function countDown () {
  for (const each of document.querySelectorAll('[data-until]')) {
    const minutes = Math.ceil((Date.parse(each.dataset.until) - Date.now()) / 60000)
    if (minutes >= 120) continue
    each.textContent = minutes > 0 ? each.dataset.left.replace('{}', minutes) : each.dataset.ended
  }
}

async function poll () {
  let state = 'updating'
  if (!document.hidden) {
    state = await refresh().catch(() => 'offline')
    say(state)
    countDown()
  }
  if (state === 'updating' || state === 'offline') setTimeout(poll, 2000)
}

say('updating')
setTimeout(poll, 2000)
