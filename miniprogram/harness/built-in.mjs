/** The tags of WeChat's built-in components; in the browser they are `wx-view` and so on. */
export const BUILT_IN = [
  'button', 'form', 'image', 'input', 'label', 'navigator', 'open-data', 'open-data-item', 'open-data-list', 'scroll-view',
  'switch', 'text', 'view', 'web-view'
]
