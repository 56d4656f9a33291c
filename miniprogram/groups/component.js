'use strict'
/* What the components share: their client, their texts, and what they say of an error. */

const { findClient } = require('./index')

/** Return the client that a component names, and call its `onOnline` when the network returns. */
function connect (component) {
  const client = findClient(component.data.client)
  if (!component.client || client.groups !== component.client.groups) {
    disconnect(component)
    component.client = client
    component.stopListening = client.groups.onOnline(() => component.onOnline())
  }
  return client
}

function disconnect (component) {
  if (component.stopListening) component.stopListening()
  component.client = component.stopListening = null
}

/** Return the texts of the phone's language, or Chinese ones while there is no client. */
function textsOf (languages, component) {
  const { phone = {} } = component.client || {}
  return replaceTexts(languages[phone.language] || languages.zh, component.data.texts)
}

/** Return a copy of `texts`, at every depth with the strings of `replacements`. */
function replaceTexts (texts, replacements) {
  const replaced = Object.assign({}, texts)
  for (const key of Object.keys(replacements || {})) {
    const text = replacements[key]
    const isGroup = typeof texts[key] === 'object'
    if (typeof text === 'string' && !isGroup) replaced[key] = text
    if (isGroup) replaced[key] = replaceTexts(texts[key], text)
  }
  return replaced
}

/** Return a GroupsError's message, or `general`: any other error tells nothing to people. */
function messageOf (error, general) {
  // By its name: two copies of the client have two classes.
  return error && error.name === 'GroupsError' ? error.message : general
}

function isUnreachable (error) {
  return ['offline', 'timeout', 'interrupted'].includes(error && error.code)
}

module.exports = { connect, disconnect, isUnreachable, messageOf, textsOf }
