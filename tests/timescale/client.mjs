// A client from its first byte to its last: what it sends goes to the engine in whole batches.
//
// The engine takes a batch and answers it in one call, so nothing may be handed to it that waits for more: an
// extended batch is collected up to its Sync (or Flush), and COPY FROM STDIN, whose rows come after its answer,
// is answered here, and statement, rows and end are handed over together.

import { Refused } from './engine.mjs'
import * as protocol from './protocol.mjs'
import { Session } from './session.mjs'

// A client that waits for itself (two connections of one test) would wait for ever.
const PATIENCE_MS = 30_000
const MOST_MS = 2 ** 31 - 1
const DATABASE = 'postgres'
const REPORTED = `SELECT name, pg_catalog.current_setting(name, true) FROM unnest(ARRAY[
  'application_name', 'client_encoding', 'DateStyle', 'default_transaction_read_only', 'in_hot_standby',
  'integer_datetimes', 'IntervalStyle', 'is_superuser', 'server_encoding', 'server_version',
  'session_authorization', 'standard_conforming_strings', 'TimeZone']) AS name`
const COPY_IN = /^\s*copy\b.*\bfrom\s+stdin\b/is

const clients = new Set()
let latest = null
let count = 0

/** Tell everybody what one of them has notified; a driver leaves out what nobody of its own listens to. */
export function tellAll(notification) {
  for (const client of clients) client.tell(notification)
}

export class Client {
  #engine
  #socket
  #session = null
  #number = (count += 1)
  #batch = []
  #said = []
  #copy = null
  #statements = new Map()

  constructor(engine, socket) {
    this.#engine = engine
    this.#socket = socket
  }

  /** Serve until the client leaves, or is made to; then undo what it left behind. */
  async serve() {
    const incoming = new protocol.Reassembly()
    try {
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false }))
        for (const received of incoming.add(chunk)) {
          if (incoming.startupIsOver) await this.#answer(received)
          else incoming.startupIsOver = await this.#start(received)
        }
    } catch (error) {
      this.#dismiss(error)
    } finally {
      this.#socket.destroySoon()
      if (this.#session) await this.#leave()
    }
  }

  tell(message) {
    this.#socket.write(message)
  }

  #dismiss(error) {
    if (error instanceof Refused) this.#socket.write(protocol.fatal(error.sqlstate, error.message))
    else if (!error.code) throw error // what a socket fails with has a code
  }

  // ---------------------------------------------------------------- coming

  /** Whether the session has begun; before it a client may ask for encryption. */
  async #start(packet) {
    const { code, parameters } = protocol.readStartup(packet)
    if (code === protocol.SSL_REQUEST || code === protocol.GSS_REQUEST) return !this.#socket.write('N')
    if (!parameters) return !this.#socket.destroy() // to cancel, which cannot be done, or another protocol
    const { user, database = user, options, ...defaults } = Object.fromEntries(parameters)
    if (database !== DATABASE || user !== DATABASE)
      throw new Refused({ sqlstate: '3D000', said: `there is one database and one user here: ${DATABASE}` })
    this.#session = new Session(this.#engine, { number: this.#number, defaults })
    await this.#welcome()
    return true
  }

  async #welcome() {
    await this.#takeTurn()
    const reported = await this.#engine.ask(REPORTED)
    this.#engine.give()
    clients.add(this)
    this.#socket.write(
      Buffer.concat([
        protocol.welcome(),
        ...reported.map(([name, value]) => protocol.parameterStatus(name, value ?? '')),
        protocol.backendKey(this.#number),
        protocol.readyForQuery('I')
      ])
    )
  }

  // ---------------------------------------------------------------- being there

  async #answer(received) {
    const type = protocol.typeOf(received)
    if (this.#copy) return this.#copyOn(type, received)
    if (type === 'X') return this.#socket.destroy()
    if (type === 'Q') return this.#answerQuery(received, protocol.sqlOf(received))
    if (!'dcf'.includes(type)) return this.#answerExtended(type, received)
  }

  async #answerQuery(received, sql) {
    if (!COPY_IN.test(sql)) return this.#submit([received], sql)
    this.#copy = [received]
    this.#socket.write(protocol.copyInResponse({ binary: /\bbinary\b/i.test(sql) }))
  }

  async #copyOn(type, received) {
    if (type === 'd') return this.#copy.push(received)
    if (type !== 'c' && type !== 'f') return // Sync and Flush are ignored during COPY
    const [statement, ...rows] = this.#copy
    this.#copy = null
    // The engine says once more that it wants the rows.
    await this.#submit(type === 'c' ? [statement, ...rows, received] : [statement, received], '', { withhold: 'G' })
  }

  async #answerExtended(type, received) {
    const sql = type === 'P' ? protocol.parsedSqlOf(received) : ''
    if (COPY_IN.test(sql))
      throw new Refused({ sqlstate: '0A000', said: 'COPY FROM STDIN is only done as a simple query here' })
    this.#batch.push(protocol.withStatementRenamed(received, (name) => this.#renamed(type, name, sql)))
    this.#said.push(sql)
    if (type === 'S' || type === 'H') await this.#submitExtended({ isOver: type === 'S' })
  }

  // Flush asks for the answers so far, and drivers that only prepare leave it at that: the engine must not be
  // kept for them, so its batch ends here, without the client's knowing.
  async #submitExtended({ isOver }) {
    const [batch, said] = [this.#batch, this.#said.join(';')]
    this.#batch = []
    this.#said = []
    if (isOver) return this.#submit(batch, said)
    await this.#submit([...batch.slice(0, -1), protocol.sync()], said, { withhold: 'Z' })
  }

  #renamed(type, name, sql) {
    const renamed = this.#session.statementName(name)
    if (type === 'P') this.#statements.set(renamed, sql)
    if (type === 'B') this.#said.push(this.#statements.get(renamed) ?? '')
    if (type === 'C') this.#statements.delete(renamed)
    return renamed
  }

  /** Carry out a batch in turn; `said` is the text of its statements, `withhold` a type of answer. */
  async #submit(batch, said, { withhold } = {}) {
    await this.#takeTurn()
    this.#session.notice(said)
    const channels = await this.#channelsBefore(said)
    const answer = await this.#engine.run(...batch)
    if (this.#engine.canBeAsked) await this.#amend(said, channels)
    if (this.#engine.isIdle) this.#engine.give()
    this.#socket.write(Buffer.concat(answer.filter((each) => protocol.typeOf(each) !== withhold)))
  }

  // `RESET ALL` and `UNLISTEN *`, with which a pool ends each use of a connection, are meant for one client.
  async #channelsBefore(said) {
    if (!/\bunlisten\b/i.test(said) || !this.#engine.canBeAsked) return []
    return this.#engine.ask('SELECT quote_ident(pg_listening_channels())')
  }

  async #amend(said, channels) {
    await this.#session.restoreDefaults(said)
    for (const [channel] of channels) await this.#engine.ask(`LISTEN ${channel}`)
  }

  async #takeTurn({ patienceMs = PATIENCE_MS } = {}) {
    await this.#engine.take(this, { patienceMs })
    if (latest === this) return
    if (latest) await latest.#session.putAway()
    latest = this
    await this.#session.takeOut()
  }

  // ---------------------------------------------------------------- going

  async #leave() {
    clients.delete(this)
    await this.#takeTurn({ patienceMs: MOST_MS })
    if (!this.#engine.isIdle) await this.#engine.ask('ROLLBACK')
    for (const name of this.#statements.keys()) await this.#engine.run(protocol.closeStatement(name), protocol.sync())
    await this.#session.putAway()
    await this.#session.end()
    latest = null
    if (clients.size === 0) await this.#engine.ask('DISCARD ALL')
    this.#engine.give()
  }
}
