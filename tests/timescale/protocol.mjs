// PostgreSQL's protocol, version 3: bytes to messages and back. Knows neither sockets nor the engine.
//
// A message is a Buffer with its head: one byte of type, four of length (which counts itself), the body. What
// a client sends first has no type. https://www.postgresql.org/docs/17/protocol-message-formats.html

const HEAD_BYTES = 5
const VERSION_3 = 3 << 16

export const SSL_REQUEST = 80877103
export const GSS_REQUEST = 80877104
export const CANCEL_REQUEST = 80877102

/** A string of the protocol: UTF-8 and a zero. */
export const text = (string) => Buffer.from(`${string}\0`)

/** A message of this type, its body made of the parts. */
export function message(type, ...parts) {
  const head = Buffer.alloc(HEAD_BYTES)
  head.write(type, 'latin1')
  head.writeUInt32BE(parts.reduce((size, part) => size + part.length, 4), 1)
  return Buffer.concat([head, ...parts])
}

export const query = (sql) => message('Q', text(sql))
export const sync = () => message('S')
export const closeStatement = (name) => message('C', Buffer.from('S'), text(name))
export const parameterStatus = (name, value) => message('S', text(name), text(value))
export const readyForQuery = (state) => message('Z', Buffer.from(state))

/** AuthenticationOk. */
export const welcome = () => message('R', Buffer.alloc(4))

/** BackendKeyData; nobody can be cancelled by it. */
export function backendKey(number) {
  const body = Buffer.alloc(8)
  body.writeUInt32BE(number)
  return message('K', body)
}

/** "Send me the rows": formats of single columns, which drivers do not look at, are left out. */
export const copyInResponse = ({ binary }) => message('G', Buffer.from([binary ? 1 : 0, 0, 0]))

/** An ErrorResponse after which the connection ends. */
export function fatal(sqlstate, said) {
  const fields = [`SFATAL`, `VFATAL`, `C${sqlstate}`, `M${said}`].map(text)
  return message('E', ...fields, Buffer.alloc(1))
}

export const typeOf = (message) => String.fromCharCode(message[0])

/** The text of a simple query. */
export const sqlOf = (query) => query.toString('utf8', HEAD_BYTES, query.length - 1)

/** The text of a Parse message; its first string is the statement's name. */
export function parsedSqlOf(parse) {
  const start = parse.indexOf(0, HEAD_BYTES) + 1
  return parse.toString('utf8', start, parse.indexOf(0, start))
}

/** What an ErrorResponse says to people, with its SQLSTATE. */
export function saidBy(error) {
  const fields = Object.fromEntries(
    error.toString('utf8', HEAD_BYTES).split('\0').map((field) => [field[0], field.slice(1)])
  )
  return { sqlstate: fields.C, said: fields.M }
}

/** The columns of a DataRow as text; null stays null. */
export function columnsOf(row) {
  const columns = []
  let at = HEAD_BYTES + 2
  for (let left = row.readUInt16BE(HEAD_BYTES); left > 0; left -= 1) {
    const size = row.readInt32BE(at)
    at += 4
    columns.push(size < 0 ? null : row.toString('utf8', at, at + size))
    at += Math.max(size, 0)
  }
  return columns
}

/** The whole messages in a buffer that holds nothing else. */
export function split(buffer) {
  const messages = []
  for (let at = 0; at < buffer.length; ) {
    const end = at + 1 + buffer.readUInt32BE(at + 1)
    messages.push(buffer.subarray(at, end))
    at = end
  }
  return messages
}

/**
 * The same message with the name of a prepared statement changed by `rename`; the nameless one keeps none.
 * Parse and Bind always refer to one, Describe and Close when their kind says so; Bind names a portal first.
 */
export function withStatementRenamed(original, rename) {
  const type = typeOf(original)
  const namesKind = type === 'D' || type === 'C'
  if (!'PBDC'.includes(type) || (namesKind && original[HEAD_BYTES] !== 'S'.charCodeAt(0))) return original
  let start = HEAD_BYTES
  if (namesKind) start += 1
  if (type === 'B') start = original.indexOf(0, start) + 1
  const end = original.indexOf(0, start)
  if (start === end) return original
  const name = Buffer.from(rename(original.toString('utf8', start, end)))
  return message(type, original.subarray(HEAD_BYTES, start), name, original.subarray(end))
}

/** What a client asks for first: the code of a request, or the parameters of a session. */
export function readStartup(packet) {
  const code = packet.readUInt32BE(4)
  if (code !== VERSION_3) return { code }
  const strings = packet.toString('utf8', 8).split('\0')
  const parameters = new Map()
  for (let at = 0; strings[at]; at += 2) parameters.set(strings[at], strings[at + 1])
  return { code, parameters }
}

/** Chunks of a stream to whole messages. Has no type byte to expect until `startupIsOver`. */
export class Reassembly {
  #chunks = []
  #size = 0
  startupIsOver = false

  // Joined only when a message is whole: rows to copy may come as one of many megabytes.
  #nextSize() {
    const before = this.startupIsOver ? 1 : 0
    if (this.#size < before + 4) return Infinity
    if (this.#chunks[0].length < before + 4) this.#chunks = [Buffer.concat(this.#chunks)]
    return before + this.#chunks[0].readUInt32BE(before)
  }

  /** Take a chunk in; gives the messages that are whole by now. */
  *add(chunk) {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    for (let size = this.#nextSize(); size <= this.#size; size = this.#nextSize()) yield this.#cut(size)
  }

  #cut(size) {
    const all = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks)
    this.#chunks = all.length > size ? [all.subarray(size)] : []
    this.#size -= size
    return all.subarray(0, size)
  }
}
