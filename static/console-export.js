// While a file is made and downloaded: how many of its rows are done.
const form = document.getElementById('export')
const shown = document.getElementById('progress')
const bar = shown.querySelector('progress')
const told = shown.querySelector('output')
const PATIENCE = 60 // seconds without news: no process that is asked knows of this download
let left = 0

async function look () {
  const answer = await fetch(form.dataset.progress)
  const { rows } = await answer.json()
  if (rows === null) return
  if (rows > bar.value) left = PATIENCE
  bar.value = rows
  told.textContent = Math.min(rows, bar.max).toLocaleString('en')
  if (rows >= bar.max) left = 0
}

async function goOn () {
  await look().catch(() => {})
  if (--left > 0) setTimeout(goOn, 1000)
}

form.addEventListener('submit', () => {
  shown.hidden = false
  bar.removeAttribute('value')
  if (left <= 0) setTimeout(goOn, 300)
  left = PATIENCE
})
