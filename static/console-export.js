// Show how many rows are done while a file is made and downloaded.
const form = document.getElementById('export')
const panel = document.getElementById('progress')
const bar = panel.querySelector('progress')
const output = panel.querySelector('output')
const MAX_ATTEMPTS = 60 // without progress: the process that answers may not know this download
let attemptsLeft = 0

async function refresh () {
  const response = await fetch(form.dataset.progress)
  const { rows } = await response.json()
  if (rows === null) return
  if (rows > bar.value) attemptsLeft = MAX_ATTEMPTS
  bar.value = rows
  output.textContent = Math.min(rows, bar.max).toLocaleString('en')
  if (rows >= bar.max) attemptsLeft = 0
}

async function poll () {
  await refresh().catch(() => {})
  if (--attemptsLeft > 0) setTimeout(poll, 1000)
}

form.addEventListener('submit', () => {
  panel.hidden = false
  bar.removeAttribute('value')
  if (attemptsLeft <= 0) setTimeout(poll, 300)
  attemptsLeft = MAX_ATTEMPTS
})
