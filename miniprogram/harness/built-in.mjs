/** The tags that are WeChat's own; in the browser they are called `wx-view` and so on. */
export const BUILT_IN = [
  'button', 'form', 'image', 'input', 'label', 'navigator', 'open-data', 'scroll-view', 'switch', 'text', 'view', 'web-view'
]
