// What an emit costs in Node, against one write of the same bytes: node tests/bench/emit_js.mjs [COUNT]
import { mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { emitter } from '../../plugins/contrib/bers-emit-js/dist/esm/index.js'

const count = Number(process.argv[2] ?? 10_000)
const folder = mkdtempSync(join(tmpdir(), 'bers-emit-'))

const timed = (work) => {
  const took = []
  for (let n = 0; n < count; n++) {
    const began = process.hrtime.bigint()
    work(n)
    took.push(Number(process.hrtime.bigint() - began) / 1000)
  }
  const [first] = took
  took.sort((one, other) => one - other)
  const at = (part) => took[Math.floor(part * (count - 1))].toFixed(1).padStart(8)
  return `p50 ${at(0.5)}  p99 ${at(0.99)}  p99.9 ${at(0.999)}  largest ${at(1)}  first ${first.toFixed(0)} microseconds`
}

const e = emitter({ url: 'http://127.0.0.1:9', spool: join(folder, 'spool'), budget: 0 })
const fields = (n) => ({ subject: `b-${n}`, outcome: 'success', duration_ms: n, labels: { team: 'web' } })
const line = Buffer.from(`${JSON.stringify({ id: 'x'.repeat(40), type: 'build.finished', ...fields(1) })}\n`)
const file = openSync(join(folder, 'file'), 'a')
console.log(`write  ${timed(() => writeSync(file, line))}`)
console.log(`emit   ${timed((n) => e.emit('build.finished', fields(n)))}`)
await e.close()
rmSync(folder, { recursive: true })
