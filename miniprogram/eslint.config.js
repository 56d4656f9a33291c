'use strict'

// Browser globals: the developer tools may have them, phones do not.
const BROWSER = [
  'window', 'document', 'navigator', 'location', 'history', 'localStorage', 'sessionStorage', 'indexedDB',
  'fetch', 'XMLHttpRequest', 'WebSocket', 'FormData', 'Blob', 'File', 'FileReader', 'Image', 'Worker',
  'URL', 'URLSearchParams', 'AbortController', 'TextEncoder', 'TextDecoder', 'atob', 'btoa', 'alert',
  'confirm', 'prompt', 'crypto', 'structuredClone', 'globalThis', 'self', 'process', 'Buffer'
]

const PHONE = [
  'wx', 'App', 'Page', 'Component', 'Behavior', 'getApp', 'getCurrentPages', 'console',
  'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'
]

// The parser refuses newer syntax; these newer methods are missing on phones with base library 2.17.3.
const NEWER_METHODS = [
  'finally', 'flat', 'flatMap', 'fromEntries', 'allSettled', 'any', 'matchAll', 'replaceAll', 'trimStart',
  'trimEnd', 'at', 'hasOwn', 'findLast', 'findLastIndex', 'toSorted', 'toReversed'
]

const newerMethod = {
  selector: `CallExpression > MemberExpression.callee[property.name=/^(${NEWER_METHODS.join('|')})$/]`,
  message: 'Newer than ES2017: old phones lack this method.'
}

// Since October 2018 WeChat calls no callback after a share. Calls of `wx` itself do have callbacks.
const sharing = '/^(onShareAppMessage|onShareTimeline)$/'
const callback = '/^(success|fail|complete)$/'
const shareCallback = {
  selector:
    `:matches(Property[key.name=${sharing}], AssignmentExpression[left.property.name=${sharing}]) ` +
    ':not(CallExpression[callee.object.name="wx"]) > ObjectExpression > ' +
    `:matches(Property[key.name=${callback}], Property[key.value=${callback}])`,
  message: 'WeChat ignores callbacks in what onShareAppMessage returns.'
}

const style = {
  semi: ['error', 'never'],
  'no-unexpected-multiline': 'error',
  quotes: ['error', 'single', { avoidEscape: true, allowTemplateLiterals: true }],
  indent: ['error', 2],
  'space-before-function-paren': ['error', 'always'],
  'comma-dangle': ['error', 'never'],
  'eol-last': 'error',
  'no-trailing-spaces': 'error',
  'max-len': ['error', { code: 120, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreComments: false }]
}

const correctness = {
  'no-unused-vars': ['error', { caughtErrors: 'none' }],
  'no-var': 'error',
  'prefer-const': 'error',
  eqeqeq: 'error',
  'no-eval': 'error',
  'no-new-func': 'error'
}

module.exports = [
  { ignores: ['**/node_modules/', '**/miniprogram_npm/', 'harness/out/'] },
  { linterOptions: { reportUnusedDisableDirectives: true } },
  {
    files: ['groups/**/*.js', 'example/**/*.js', 'article/**/*.js'],
    languageOptions: {
      ecmaVersion: 2017,
      sourceType: 'commonjs',
      globals: Object.fromEntries(PHONE.map(name => [name, 'readonly']))
    },
    rules: {
      'no-undef': 'error',
      'no-restricted-globals': ['error', ...BROWSER],
      'no-restricted-syntax': ['error', newerMethod, shareCallback]
    }
  },
  { files: ['groups/**/*.js', 'example/**/*.js'], rules: { ...style, ...correctness } },
  {
    files: ['tests/**/*.mjs', 'harness/**/*.mjs', 'harness/**/*.js'],
    languageOptions: { ecmaVersion: 'latest', sourceType: 'module' },
    rules: { ...correctness, semi: style.semi }
  }
]
