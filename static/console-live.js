// New attempts appear on top of the list, every two seconds while the page is looked at.
const list = document.getElementById('attempts')

async function look () {
  const newest = list.querySelector('article')?.dataset.pk ?? 0
  const answer = await fetch(`${list.dataset.live}&since=${newest}`)
  if (answer.status !== 200 || answer.redirected) return answer.ok && !answer.redirected
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
  list.prepend(...page.querySelectorAll('article'))
  document.getElementById('nothing')?.remove()
  for (const old of [...list.children].slice(30)) old.remove()
  return true
}

async function goOn () {
  let signedIn = true
  if (!document.hidden) signedIn = await look().catch(() => true)
  if (signedIn) setTimeout(goOn, 2000)
}

setTimeout(goOn, 2000)
