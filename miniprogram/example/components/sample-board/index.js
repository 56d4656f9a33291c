/** Show a sample ranking with invented members, for users without a group. */
const ROWS = [
  { rank: 1, nickname: '小满', score: 7, move: '–', kind: '', image: 1 },
  { rank: 2, nickname: '阿哲', score: 6, move: '▲1', kind: 'up', image: 2 },
  { rank: 3, nickname: '青柠', score: 5, move: '▼1', kind: 'down', image: 3 },
  { rank: 4, nickname: '老周', score: 3, move: '新', kind: 'up', image: 4 },
  { rank: 5, nickname: '南风', score: 2, move: '–', kind: '', image: 5 }
]

Component({
  data: { rows: ROWS }
})
