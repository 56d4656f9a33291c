export * from './groups/index.js'
