// WeChat's built-in components, as far as the mini-programs under test use them. Any other tag is an
// error of glass-easel.
import { device } from './device.mjs'

const ARIA_ATTRIBUTES = {
  role: 'role',
  ariaRole: 'role',
  ariaLabel: 'aria-label',
  ariaHidden: 'aria-hidden',
  ariaSelected: 'aria-selected',
  ariaChecked: 'aria-checked',
  ariaModal: 'aria-modal'
}

const FIT = { aspectFit: 'contain', aspectFill: 'cover', scaleToFill: 'fill' }

/** Return the built-in components: properties with defaults, and `attached(component, element)`. */
function definitions (stage) {
  const plain = {}
  return {
    view: plain,
    text: { properties: { userSelect: false, selectable: false, space: '', decode: false } },
    label: { properties: { for: '' } },
    image: image(),
    button: button(stage),
    form: { attached: (form, element) => { element.submit = () => form.triggerEvent('submit', { value: valuesIn(element) }) } },
    input: input(),
    switch: toggle(),
    navigator: navigator(stage),
    'scroll-view': scrollView(),
    'open-data': openData(),
    // Drawn in Skyline alone, and for a chat tool: nothing, as on a phone that cannot.
    'open-data-list': { properties: { type: '', members: null } },
    'open-data-item': { leaf: true, properties: { type: '', index: 0 } },
    'web-view': webView()
  }
}

/** Register all built-in components in a component space. */
export function registerBuiltIns (space, templates, stage) {
  for (const [name, definition] of Object.entries(definitions(stage))) {
    const template = definition.leaf ? 'leaf' : 'container'
    space.setGlobalUsingComponent(name, space.define(`wx:${name}`)
      .template({ groupList: templates, content: templates[template] })
      .definition(componentOf(definition))
      .registerComponent())
  }
}

function componentOf ({ properties = {}, changed, attached }) {
  const own = Object.assign({ hidden: false, hoverClass: '', hoverStopPropagation: false }, properties)
  for (const name of Object.keys(ARIA_ATTRIBUTES)) own[name] = ''
  return {
    properties: Object.fromEntries(Object.entries(own).map(([name, value]) => [name, propertyOf(value)])),
    observers: {
      [Object.keys(own).join(', ')] () {
        if (this.ready) update(this, changed)
      }
    },
    lifetimes: {
      attached () {
        this.ready = true
        if (attached) attached(this, elementOf(this))
        update(this, changed)
      }
    }
  }
}

function propertyOf (value) {
  return { type: value === null ? null : value.constructor, value }
}

function update (component, changed) {
  const element = elementOf(component)
  element.hidden = component.data.hidden
  for (const [name, attribute] of Object.entries(ARIA_ATTRIBUTES)) {
    const value = component.data[name]
    if (value !== '') element.setAttribute(attribute, value)
  }
  if (changed) changed(component, element)
}

function elementOf (component) {
  return component.getBackendElement()
}

function image () {
  return {
    leaf: true,
    properties: { src: '', mode: 'scaleToFill', lazyLoad: false, webp: false, showMenuByLongpress: false },
    attached (component, element) {
      const picture = element.appendChild(Object.assign(new Image(), { alt: '' }))
      picture.onload = () => component.triggerEvent('load', { width: picture.naturalWidth, height: picture.naturalHeight })
      picture.onerror = () => component.triggerEvent('error', { errMsg: `image:fail ${component.data.src}` })
    },
    changed (component, element) {
      const { src, mode } = component.data
      const picture = element.firstElementChild
      picture.style.objectFit = FIT[mode] || 'fill'
      if (mode === 'widthFix') element.style.height = picture.style.height = 'auto'
      if (src && component.shown !== src) picture.src = device.imageUrl(src)
      component.shown = src
    }
  }
}

function button (stage) {
  const actions = {
    share: (component, element) => stage.share('button', { id: element.id, dataset: component.dataset }),
    async chooseAvatar (component) {
      if (!device.settings.nextPicture) return
      // Refused or undeclared: WeChat logs it in the console, and there is no event.
      if (!await device.hasPrivacyConsent()) return
      component.triggerEvent('chooseavatar', { avatarUrl: await device.addPicture(device.settings.nextPicture) })
    },
    agreePrivacyAuthorization (component) {
      device.set({ privacy: 'agreed' })
      component.triggerEvent('agreeprivacyauthorization', {})
    }
  }
  return {
    properties: { openType: '', formType: '', type: 'default', size: 'default', plain: false, disabled: false, loading: false },
    attached (component, element) {
      element.addEventListener('click', () => {
        const { openType, formType, disabled } = component.data
        if (disabled) return
        device.record(`button ${openType || formType || 'tap'}`)
        if (openType) actions[openType](component, element)
        if (formType === 'submit') element.closest('wx-form').submit()
      })
    },
    changed (component, element) {
      element.setAttribute('size', component.data.size)
      element.setAttribute('role', 'button')
    }
  }
}

function valuesIn (form) {
  const fields = [...form.querySelectorAll('[name]:not([name=""])')]
  return Object.fromEntries(fields.map(field => [field.getAttribute('name'), field.currentValue()]))
}

function input () {
  return {
    leaf: true,
    properties: { value: '', name: '', type: 'text', placeholder: '', placeholderClass: '', placeholderStyle: '', maxlength: 140, password: false, disabled: false, focus: false },
    attached (component, element) {
      const field = element.appendChild(document.createElement('input'))
      element.currentValue = () => field.value
      for (const type of ['input', 'focus', 'blur']) {
        field.addEventListener(type, () => component.triggerEvent(type, { value: field.value }))
      }
    },
    changed (component, element) {
      const { value, name, placeholder, maxlength, password, disabled, ariaLabel } = component.data
      const field = element.firstElementChild
      element.setAttribute('name', name)
      if (component.given !== value) field.value = component.given = value
      if (maxlength >= 0) field.maxLength = maxlength
      Object.assign(field, { placeholder, disabled, type: password ? 'password' : 'text', ariaLabel })
    }
  }
}

function toggle () {
  const paint = (component, element) => {
    element.setAttribute('role', 'switch')
    element.setAttribute('aria-checked', component.on)
    element.style.background = component.on ? component.data.color : ''
  }
  return {
    leaf: true,
    properties: { checked: false, name: '', color: '#04BE02', disabled: false, type: 'switch' },
    attached (component, element) {
      element.currentValue = () => component.on
      element.addEventListener('click', () => {
        if (component.data.disabled) return
        component.on = !component.on
        paint(component, element)
        component.triggerEvent('change', { value: component.on })
      })
    },
    changed (component, element) {
      element.setAttribute('name', component.data.name)
      component.on = component.data.checked
      paint(component, element)
    }
  }
}

function navigator (stage) {
  const calls = { navigate: 'navigateTo', redirect: 'redirectTo', switchTab: 'switchTab', reLaunch: 'reLaunch', navigateBack: 'navigateBack' }
  return {
    properties: { url: '', openType: 'navigate', delta: 1 },
    attached (component, element) {
      element.addEventListener('click', () => {
        const { url, openType, delta } = component.data
        stage[calls[openType]]({ url, delta })
      })
    }
  }
}

function scrollView () {
  return {
    properties: {
      scrollX: false, scrollY: false, lowerThreshold: 50, scrollTop: 0, type: '', enhanced: false, showScrollbar: true,
      refresherEnabled: false, refresherTriggered: false, refresherBackground: ''
    },
    attached (component, element) {
      let isLow = false
      element.tabIndex = 0
      const distance = () => element.scrollHeight - element.clientHeight - element.scrollTop
      // As in WeChat, it comes once on the way down, and again after the end has moved away.
      const onScroll = () => {
        const { scrollTop, scrollLeft, scrollHeight, scrollWidth } = element
        component.triggerEvent('scroll', { scrollTop, scrollLeft, scrollHeight, scrollWidth })
        const wasLow = isLow
        isLow = component.data.scrollY && distance() < component.data.lowerThreshold
        if (isLow && !wasLow) component.triggerEvent('scrolltolower', { direction: 'bottom' })
      }
      element.addEventListener('scroll', onScroll)
      element.pull = () => {
        element.toggleAttribute('refreshing', true)
        component.triggerEvent('refresherrefresh', {})
      }
    },
    changed (component, element) {
      const { scrollX, scrollY, scrollTop, refresherEnabled, refresherTriggered } = component.data
      element.style.overflowX = scrollX ? 'auto' : 'hidden'
      element.style.overflowY = scrollY ? 'auto' : 'hidden'
      element.toggleAttribute('refresher', refresherEnabled)
      if (component.given !== scrollTop) element.scrollTop = component.given = scrollTop
      // The indicator stays until the page takes `refresher-triggered` back.
      if (component.triggered && !refresherTriggered) element.toggleAttribute('refreshing', false)
      component.triggered = refresherTriggered
    }
  }
}

function openData () {
  return {
    leaf: true,
    properties: { type: '', openGid: '', defaultText: '' },
    changed (component, element) {
      const { type, openGid, defaultText } = component.data
      const name = type === 'groupName' ? device.settings.chats[openGid] : '微信用户'
      element.textContent = name || defaultText
    }
  }
}

function webView () {
  return {
    leaf: true,
    properties: { src: '' },
    attached: (component, element) => element.appendChild(document.createElement('iframe')),
    changed: (component, element) => { element.firstElementChild.src = component.data.src }
  }
}
