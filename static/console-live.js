// Add new attempts to the top of the list, every two seconds while the page is visible.
const list = document.getElementById('attempts')

/** Load new attempts; resolves to false if polling must stop, for example after signing out. */
async function refresh () {
  const newest = list.querySelector('article')?.dataset.pk ?? 0
  const response = await fetch(`${list.dataset.live}&since=${newest}`)
  if (response.status !== 200 || response.redirected) return response.ok && !response.redirected
  const page = new DOMParser().parseFromString(await response.text(), 'text/html')
  list.prepend(...page.querySelectorAll('article'))
  document.getElementById('nothing')?.remove()
  for (const old of [...list.children].slice(30)) old.remove()
  return true
}

async function poll () {
  let keepPolling = true
  if (!document.hidden) keepPolling = await refresh().catch(() => true)
  if (keepPolling) setTimeout(poll, 2000)
}

setTimeout(poll, 2000)
