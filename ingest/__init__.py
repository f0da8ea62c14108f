"""Binance market data into TimescaleDB, never silent unnoticed.

The package reads in the order a message travels; imports go the same way and never back:

    feed      1   exchange -> bytes      one websocket, many streams
    binance   2   bytes -> events        pure parsers; REST behind one weight budget
    sequence  3   events, continuous     next, duplicate or gap, per stream
    book      3'  depth events -> book   the documented snapshot procedure as a machine
    buffer    4   events -> batches      rows encoded for COPY when they are parsed
    store     5   batches -> database    COPY, staged when a key refuses; migrations
    board         freshness in a mapped file, written by shards, read by anyone
    reader        for whoever only reads: refuses what is stale or incomplete
    shard         the process that runs 1 to 5
    supervisor    the process above: plan, spawn, watch, restart, publish
    ops           metrics, health, HTTP, the status page, logs
    sim           the exchange double; shares no protocol code with the rest

Invariants, each with one owner:

* A stream is judged by its data, never by its connection (`supervisor.watch`).
* A gap is a row in the ledger before, or together with, the first row after it (`buffer.batcher`).
* A book that is not known to be right is not shown (`book.sync`).
* A row is acknowledged after its commit, or when it is safe on the disk, and writing it twice is harmless
  (`store.writer`, `buffer.spool`).
* Nothing that waits for the outside world waits without a deadline.
"""

__version__ = "0.1.0"
