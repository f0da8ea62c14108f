// What makes the engine's one session the session of several clients, one after another.
//
// When another client takes the engine, the settings, the role and the temporary tables of the one before are
// put away and its own are taken out. What cannot be told apart is shared by all: advisory locks, statements
// prepared in SQL, the nameless prepared statement.

// The build starts with what suited its making; these are what a server starts with.
const DEFAULTS = {
  search_path: '"$user", public',
  client_min_messages: 'notice',
  enable_seqscan: 'on',
  timezone: 'UTC'
}

const RESET = /\b(?:reset|discard)\s+(\w+)/gi

/** Of one client; its methods want the engine idle and its client's turn, but where they say so. */
export class Session {
  #engine
  #prefix
  #defaults
  #own = {}
  #hasTemporary = false

  /** `defaults` are the settings that the client asked for when it connected. */
  constructor(engine, { number, defaults }) {
    this.#engine = engine
    this.#prefix = `client ${number}: `
    const asked = Object.entries(defaults).map(([name, value]) => [name.toLowerCase(), value])
    this.#defaults = { ...DEFAULTS, ...Object.fromEntries(asked) }
  }

  /** A statement as it is sent to the engine, named so that no other client has it. */
  statementName(name) {
    return this.#prefix + name
  }

  /** Look at a statement that is about to run. */
  notice(sql) {
    this.#hasTemporary ||= /\btemp(orary)?\b/i.test(sql)
  }

  /** Make the engine's session this one; Refused when a setting is not one. */
  async takeOut() {
    await this.#engine.ask('RESET ALL; SET ROLE NONE')
    const length = this.#prefix.length + 1
    await this.#renameTemporary(`starts_with(relname, ${literal(this.#prefix)})`, `substr(relname, ${length})`)
    await this.#engine.ask(settingOf({ ...this.#defaults, ...this.#own }))
  }

  /** Keep what the engine's session has become. */
  async putAway() {
    const rows = await this.#engine.ask(`
      SELECT 'role', pg_catalog.current_setting('role');
      SET ROLE NONE;
      SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings WHERE source = 'session'`)
    this.#own = Object.fromEntries(rows)
    await this.#renameTemporary(`NOT starts_with(relname, 'client ')`, `${literal(this.#prefix)} || relname`)
  }

  /**
   * After a statement, in or out of a transaction: what it has reset, and so to what the engine was started
   * with, gets this session's default.
   */
  async restoreDefaults(said) {
    const names = Array.from(said.matchAll(RESET), ([, name]) => name.toLowerCase())
    const all = Object.entries(this.#defaults)
    const lost = names.includes('all') ? all : all.filter(([name]) => names.includes(name))
    if (lost.length > 0) await this.#engine.ask(settingOf(Object.fromEntries(lost)))
  }

  /** Drop what is put away. */
  async end() {
    const mine = `starts_with(relname, ${literal(this.#prefix)}) AND relkind IN ('r', 'v')`
    await this.#forEachTemporary(mine, `format('DROP %s IF EXISTS pg_temp.%I CASCADE',
      CASE relkind WHEN 'r' THEN 'TABLE' ELSE 'VIEW' END, relname)`)
  }

  async #renameTemporary(which, name) {
    await this.#forEachTemporary(which, `format('ALTER TABLE pg_temp.%I RENAME TO %I', relname, ${name})`)
  }

  /** `which` and `statement` are SQL over the columns relname and relkind. */
  async #forEachTemporary(which, statement) {
    if (!this.#hasTemporary) return
    await this.#engine.ask(`DO $$ DECLARE statement text; BEGIN
      FOR statement IN SELECT ${statement} FROM pg_catalog.pg_class
        WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind IN ('r', 'v', 'S', 'i') AND ${which}
      LOOP EXECUTE statement; END LOOP; END $$`)
  }
}

const literal = (string) => `'${string.replaceAll("'", "''")}'`

function settingOf(settings) {
  const call = ([name, value]) => `pg_catalog.set_config(${literal(name)}, ${literal(value)}, false)`
  return `SELECT ${Object.entries(settings).map(call).join(', ')}`
}
