const { copy, stateOf } = require('../../utils/ui')
const { SECTIONS, FIELDS, VALUES } = require('./labels')

const app = getApp()

const TIME = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d):/

function textOf (value) {
  if (value === null || value === '') return '—'
  if (typeof value === 'boolean') return value ? '是' : '否'
  if (typeof value === 'object') return JSON.stringify(value)
  const time = TIME.exec(value)
  return time ? `${time[1]} ${time[2]}` : VALUES[value] || String(value)
}

function rowsOf (record) {
  return Object.keys(record).map(key => ({ label: FIELDS[key] || key, text: textOf(record[key]) }))
}

function sectionsOf (data) {
  return Object.keys(data).map(key => ({
    title: SECTIONS[key] || key,
    records: [].concat(data[key]).map((record, number) => ({ number, rows: rowsOf(record) }))
  }))
}

/** Show all data stored about the member, and copy it. */
Page({
  data: { state: 'loading', message: '', sections: [] },

  onLoad () {
    return this.load()
  },

  async load () {
    this.setData({ state: 'loading' })
    try {
      this.myData = await app.groups.request('/me/data')
      this.setData({ state: 'list', sections: sectionsOf(this.myData) })
    } catch (error) {
      this.setData({ state: stateOf(error), message: error.message })
    }
  },

  copyAll () {
    copy(JSON.stringify(this.myData, null, 2))
  }
})
