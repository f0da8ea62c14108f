"""The exchange double: a server that speaks Binance spot, to run the service against.

It shares no protocol code with the ingesting side (`binance`, `feed`, `book`): otherwise a
misunderstanding could hide on both sides of the wire. The two meet only in the bytes.

    market, recording, playback   what happens (seeded; recorded)
    exchange, instrument          what follows from it: candles, tickers, depth windows, the ledger
    channels, wire, streams       the stream payloads and who gets them
    subscriptions, limits, rest   the exchange's manners towards its clients
    faults, injection, damage     what shall go wrong
    connection, http_*, server    sockets, clock, control
"""
