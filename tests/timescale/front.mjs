// A PostgreSQL server with TimescaleDB for the tests: PGlite in WebAssembly behind the wire protocol.
//
//   node front.mjs FOLDER      FOLDER has the locked npm package (`.ci/timescale`)
//
// Prints one line of JSON when it takes connections, {"port": ...}, and one for each line it is sent,
// {"rss_bytes": ...}. Ends when its standard input does, so that it never outlives who started it.

import net from 'node:net'
import readline from 'node:readline'
import { Client, tellAll } from './client.mjs'
import { Engine } from './engine.mjs'

const tell = (facts) => process.stdout.write(`${JSON.stringify(facts)}\n`)

async function main(folder) {
  const engine = await Engine.start(folder)
  engine.onNotification = tellAll
  const server = net.createServer({ noDelay: true }, (socket) => new Client(engine, socket).serve())
  server.listen(0, '127.0.0.1', () => tell({ port: server.address().port }))
}

const orders = readline.createInterface({ input: process.stdin })
orders.on('line', () => tell({ rss_bytes: process.memoryUsage.rss() }))
orders.on('close', () => process.exit(0))

await main(process.argv[2])
