// What callers hand in, however odd, is an event or nothing: never an error.
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { attach, dispatch, EVENTS, emitter } from '@bers/emit'

const spool = mkdtempSync(join(tmpdir(), 'spool-'))
const e = emitter({ url: 'http://127.0.0.1:9', spool, budget: 0 })

const last = () => {
  const lines = readdirSync(spool).flatMap((name) => readFileSync(join(spool, name), 'utf8').trim().split('\n'))
  return lines.map((line) => JSON.parse(line)).filter(({ type }) => type === 'a.b').at(-1)
}
const kept = (fields) => {
  assert.equal(e.emit('a.b', fields), true)
  return last()
}

test('values become JSON', () => {
  const circle = {}
  circle.self = circle
  const event = kept({
    data: {
      big: 12n, nan: NaN, date: new Date(0), map: new Map([[1, 2]]), set: new Set([1]), error: new TypeError('x'),
      symbol: Symbol('s'), function: () => 1, bytes: Buffer.from('hi'), none: undefined, url: new URL('http://a/b'),
    },
  })
  assert.deepEqual(event.data, {
    big: 12, nan: null, date: '1970-01-01T00:00:00.000Z', map: { 1: 2 }, set: [1], error: 'TypeError: x',
    symbol: 'Symbol(s)', function: '() => 1', bytes: 'hi', none: null, url: 'http://a/b',
  })
  let found = kept({ data: circle }).data
  while (typeof found === 'object') found = found.self
  assert.equal(found, '...')
})

test('what throws when it is looked at is left out', () => {
  const event = kept({ data: { get bad() { throw new Error('no') }, good: 1, text: { toString() { throw new Error('no') } } } })
  assert.deepEqual(event.data, { bad: null, good: 1, text: { toString: event.data.text.toString } })
  assert.equal(e.emit('a.b', new Proxy({}, { ownKeys() { throw new Error('no') } })), false)
  assert.equal(kept({ data: new Proxy({}, { ownKeys() { throw new Error('no') } }) }).type, 'a.b')
})

test('half a character is no character', () => {
  assert.equal(kept({ reason: 'a\ud800b' }).reason, 'a\ufffdb')
  assert.deepEqual(kept({ data: { '\udc00': '\ud800' } }).data, { '\ufffd': '\ufffd' })
})

test('fields have the type that the intake asks for, or are left out', () => {
  const event = kept({
    subject: 7, duration_ms: -1, measures: { a: '1.5', b: 'x', c: Infinity }, labels: { team: 5 }, time: new Date(NaN), chain: null,
  })
  assert.deepEqual([event.subject, event.measures, event.labels], ['7', { a: 1.5 }, { team: '5' }])
  assert.deepEqual(['duration_ms' in event, 'chain' in event, typeof event.time], [false, false, 'string'])
  assert.equal(kept({ time: 0 }).time, '1970-01-01T00:00:00.000Z')
})

test('what is too large is dropped and counted', () => {
  assert.deepEqual(Object.keys(kept({ data: Array(20).fill('x'.repeat(20_000)) }).data), ['dropped'])
  const before = e.dropped
  assert.equal(e.emit('a.b', { extra: Array(20).fill('x'.repeat(20_000)) }), false)
  assert.equal(e.dropped, before + 1)
})

test('a type that is none is refused', () => {
  for (const type of ['', null, undefined, 7, {}]) assert.equal(e.emit(type), false)
  for (const fields of [null, 'text', 7, []]) assert.equal(e.emit('a.b', fields), true)
})

test('the nine events of an EventTarget and of an EventEmitter are handed on, until it is undone', () => {
  const heard = []
  const taker = { emit: (type, detail) => heard.push([type, detail.duration]) }
  const [target, events] = [new EventTarget(), new EventEmitter()]
  const undo = [attach(target, taker), attach(events, taker, ['build-completed'])]
  EVENTS.forEach((name, n) => dispatch(name, { duration: n }, target))
  events.emit('build-completed', { duration: 99 })
  dispatch('something-else', { duration: 1 }, target)
  undo.forEach((one) => one())
  dispatch('build-completed', {}, target)
  events.emit('build-completed')
  assert.deepEqual(heard, [...EVENTS.map((name, n) => [name, n]), ['build-completed', 99]])
})

test('a taker that throws does not harm whoever dispatches', () => {
  const target = new EventTarget()
  attach(target, { emit() { throw new Error('no') } })
  dispatch('build-completed', {}, target)
})
