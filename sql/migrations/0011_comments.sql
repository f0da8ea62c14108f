-- Words about every column that a reader meets: what `\d+` and sql/SCHEMA.md show.

COMMENT ON COLUMN spot.trades.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.trades.trade_id IS 'The exchange''s; consecutive for a symbol';
COMMENT ON COLUMN spot.trades.price IS 'In the quote asset, as printed';
COMMENT ON COLUMN spot.trades.qty IS 'In the base asset, as printed';
COMMENT ON COLUMN spot.trades.recv_ts IS 'When the message left our socket, by the shard''s clock; for a repaired row: when REST answered';

COMMENT ON COLUMN spot.agg_trades.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.agg_trades.agg_trade_id IS 'The exchange''s; consecutive for a symbol';
COMMENT ON COLUMN spot.agg_trades.ts IS 'Time of the trades at the exchange';
COMMENT ON COLUMN spot.agg_trades.price IS 'In the quote asset, as printed';
COMMENT ON COLUMN spot.agg_trades.qty IS 'Sum over the trades, in the base asset';
COMMENT ON COLUMN spot.agg_trades.first_trade_id IS 'First trade of the aggregate, inclusive';
COMMENT ON COLUMN spot.agg_trades.last_trade_id IS 'Last trade of the aggregate, inclusive';
COMMENT ON COLUMN spot.agg_trades.buyer_is_maker IS 'True when the aggressor sold';
COMMENT ON COLUMN spot.agg_trades.recv_ts IS 'When the message left our socket, by the shard''s clock; for a repaired row: when REST answered';

COMMENT ON COLUMN spot.book_tickers.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.book_tickers.update_id IS 'Update of the book that this is the best of; rising, not consecutive';
COMMENT ON COLUMN spot.book_tickers.bid_price IS 'Best bid';
COMMENT ON COLUMN spot.book_tickers.bid_qty IS 'Quantity at the best bid';
COMMENT ON COLUMN spot.book_tickers.ask_price IS 'Best ask';
COMMENT ON COLUMN spot.book_tickers.ask_qty IS 'Quantity at the best ask';
COMMENT ON COLUMN spot.book_tickers.recv_ts IS 'The same as ts';

COMMENT ON COLUMN spot.depth_deltas.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.depth_deltas.first_update_id IS 'First update of the book in this row, inclusive';
COMMENT ON COLUMN spot.depth_deltas.final_update_id IS 'Last update in this row, inclusive; the next row''s first_update_id is one more';
COMMENT ON COLUMN spot.depth_deltas.ts IS 'Event time at the exchange';
COMMENT ON COLUMN spot.depth_deltas.ask_prices IS 'One element a level; ask_qtys has the new absolute quantity at the same index';
COMMENT ON COLUMN spot.depth_deltas.ask_qtys IS 'Zero: the level is gone';
COMMENT ON COLUMN spot.depth_deltas.recv_ts IS 'When the message left our socket, by the shard''s clock';

COMMENT ON COLUMN spot.depth_snapshots.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.depth_snapshots.ts IS 'Event time of the last update in the book';
COMMENT ON COLUMN spot.depth_snapshots.bid_prices IS 'Best first';
COMMENT ON COLUMN spot.depth_snapshots.bid_qtys IS 'Quantity at the price of the same index';
COMMENT ON COLUMN spot.depth_snapshots.ask_prices IS 'Best first';
COMMENT ON COLUMN spot.depth_snapshots.ask_qtys IS 'Quantity at the price of the same index';
COMMENT ON COLUMN spot.depth_snapshots.recv_ts IS 'When the last update in the book left our socket, by the shard''s clock';

COMMENT ON COLUMN spot.klines.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.klines.interval IS 'Length as the exchange writes it, such as 1s, 1m, 1h, 1d, 1M';
COMMENT ON COLUMN spot.klines.open_time IS 'First moment of the candle';
COMMENT ON COLUMN spot.klines.close_time IS 'Last moment of the candle, inclusive, as the exchange writes it: a millisecond before the next';
COMMENT ON COLUMN spot.klines.open IS 'First price';
COMMENT ON COLUMN spot.klines.high IS 'Highest price';
COMMENT ON COLUMN spot.klines.low IS 'Lowest price';
COMMENT ON COLUMN spot.klines.close IS 'Last price so far';
COMMENT ON COLUMN spot.klines.volume IS 'In the base asset';
COMMENT ON COLUMN spot.klines.quote_volume IS 'In the quote asset';
COMMENT ON COLUMN spot.klines.trades IS 'Number of trades';
COMMENT ON COLUMN spot.klines.taker_buy_volume IS 'Of volume, what takers bought';
COMMENT ON COLUMN spot.klines.taker_buy_quote_volume IS 'Of quote_volume, what takers bought';
COMMENT ON COLUMN spot.klines.recv_ts IS 'When the message left our socket, by the shard''s clock; for a repaired row: when REST answered';

COMMENT ON COLUMN spot.tickers.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.tickers.ts IS 'Event time at the exchange';
COMMENT ON COLUMN spot.tickers.last_price IS 'Of the newest trade';
COMMENT ON COLUMN spot.tickers.open IS '24 hours ago';
COMMENT ON COLUMN spot.tickers.high IS 'Highest of 24 hours';
COMMENT ON COLUMN spot.tickers.low IS 'Lowest of 24 hours';
COMMENT ON COLUMN spot.tickers.volume IS 'Of 24 hours, in the base asset';
COMMENT ON COLUMN spot.tickers.quote_volume IS 'Of 24 hours, in the quote asset';
COMMENT ON COLUMN spot.tickers.recv_ts IS 'When the message left our socket, by the shard''s clock';
COMMENT ON COLUMN spot.tickers.price_change IS 'last_price - open';
COMMENT ON COLUMN spot.tickers.price_change_percent IS 'The same in percent of open';
COMMENT ON COLUMN spot.tickers.weighted_avg_price IS 'quote_volume / volume';
COMMENT ON COLUMN spot.tickers.prev_close_price IS 'Price before the 24 hours';
COMMENT ON COLUMN spot.tickers.last_qty IS 'Of the newest trade';
COMMENT ON COLUMN spot.tickers.bid_price IS 'Best bid';
COMMENT ON COLUMN spot.tickers.bid_qty IS 'Quantity at the best bid';
COMMENT ON COLUMN spot.tickers.ask_price IS 'Best ask';
COMMENT ON COLUMN spot.tickers.ask_qty IS 'Quantity at the best ask';
COMMENT ON COLUMN spot.tickers.open_time IS 'Begin of the 24 hours';
COMMENT ON COLUMN spot.tickers.close_time IS 'End of the 24 hours';
COMMENT ON COLUMN spot.tickers.first_trade_id IS 'First trade of the 24 hours; -1 when there was none';
COMMENT ON COLUMN spot.tickers.last_trade_id IS 'Last trade of the 24 hours; -1 when there was none';
COMMENT ON COLUMN spot.tickers.trades IS 'Number of trades in the 24 hours';

COMMENT ON COLUMN spot.avg_prices.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.avg_prices.ts IS 'Event time at the exchange';
COMMENT ON COLUMN spot.avg_prices.interval IS 'Length of the average as the exchange writes it, such as 5m';
COMMENT ON COLUMN spot.avg_prices.avg_price IS 'In the quote asset, as printed';
COMMENT ON COLUMN spot.avg_prices.recv_ts IS 'When the message left our socket, by the shard''s clock';

COMMENT ON COLUMN ops.instruments.market IS 'Such as spot';
COMMENT ON COLUMN ops.instruments.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN ops.instruments.base_asset IS 'What is traded';
COMMENT ON COLUMN ops.instruments.quote_asset IS 'What it is paid with';
COMMENT ON COLUMN ops.instruments.first_seen IS 'When it was first ingested';
COMMENT ON COLUMN ops.instruments.updated_at IS 'When the exchange was last asked about it';

COMMENT ON COLUMN ops.gaps.gap_id IS 'Ours; in the order in which gaps were noted';
COMMENT ON COLUMN ops.gaps.market IS 'Such as spot';
COMMENT ON COLUMN ops.gaps.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN ops.gaps.kind IS 'Kind of the stream, such as trade or kline_1m';
COMMENT ON COLUMN ops.gaps.cause IS 'What has broken the stream, such as disconnect, start or row_refused';
COMMENT ON COLUMN ops.gaps.rows_repaired IS 'Rows that came after all';
COMMENT ON COLUMN ops.gaps.closed_at IS 'When it left the state open; null while it is open';
COMMENT ON COLUMN ops.gaps.note IS 'More in words; empty when there is none';

COMMENT ON COLUMN ops.stream_state.market IS 'Such as spot';
COMMENT ON COLUMN ops.stream_state.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN ops.stream_state.kind IS 'Kind of the stream, such as trade or kline_1m';
COMMENT ON COLUMN ops.stream_state.shard IS 'The shard that carries the stream';
COMMENT ON COLUMN ops.stream_state.feed IS 'Its connection';
COMMENT ON COLUMN ops.stream_state.state IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.diagnosis IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.last_event_ts IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.last_recv_ts IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.last_commit_ts IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.threshold_s IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.verified_quiet_at IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.reconnects IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.open_gaps IS 'See ops.stream_freshness';
COMMENT ON COLUMN ops.stream_state.updated_at IS 'See ops.stream_freshness';

COMMENT ON COLUMN ops.stream_freshness.market IS 'Such as spot';
COMMENT ON COLUMN ops.stream_freshness.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN ops.stream_freshness.kind IS 'Kind of the stream, such as trade or kline_1m';
COMMENT ON COLUMN ops.stream_freshness.shard IS 'The shard that carries the stream';
COMMENT ON COLUMN ops.stream_freshness.feed IS 'Its connection';
COMMENT ON COLUMN ops.stream_freshness.reconnects IS 'Times that the stream was broken off, since its shard started';
COMMENT ON COLUMN ops.stream_freshness.open_gaps IS 'Gaps of the stream that wait for their repair';

COMMENT ON COLUMN ops.feed_sessions.market IS 'Such as spot';
COMMENT ON COLUMN ops.feed_sessions.feed IS 'Number of the connection within its shard''s plan';
COMMENT ON COLUMN ops.feed_sessions.shard IS 'The shard that had it';
COMMENT ON COLUMN ops.feed_sessions.url IS 'Where it was connected to';
COMMENT ON COLUMN ops.feed_sessions.connected_at IS 'When it was open';
COMMENT ON COLUMN ops.feed_sessions.reason IS 'Why it ended; null while it is open';
COMMENT ON COLUMN ops.feed_sessions.messages IS 'Market data messages received until the row was last written';

COMMENT ON COLUMN ops.shards.shard IS 'Number of the shard, from 0';
COMMENT ON COLUMN ops.shards.state IS 'As the supervisor sees it, such as running, down or given up';
COMMENT ON COLUMN ops.shards.started_at IS 'Start of the process; null while it is down';
COMMENT ON COLUMN ops.shards.restarts IS 'By this supervisor';
COMMENT ON COLUMN ops.shards.updated_at IS 'When the supervisor last published this row, by the server''s clock';

COMMENT ON COLUMN ops.quarantine.id IS 'Ours';
COMMENT ON COLUMN ops.quarantine.at IS 'When it was put here, by the shard''s clock';
COMMENT ON COLUMN ops.quarantine.market IS 'Such as spot';
COMMENT ON COLUMN ops.quarantine.shard IS 'The shard that received it';
COMMENT ON COLUMN ops.quarantine.feed IS 'The connection that brought it';
COMMENT ON COLUMN ops.quarantine.error IS 'Why it was not stored';

COMMENT ON COLUMN ops.partition_plan.relation IS 'The partitioned table';
COMMENT ON COLUMN ops.partition_plan.grain IS 'day or month, in UTC';

COMMENT ON COLUMN ops.stream_rhythms.market IS 'Such as spot';
COMMENT ON COLUMN ops.stream_rhythms.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN ops.stream_rhythms.kind IS 'Kind of the stream, such as trade or kline_1m';
COMMENT ON COLUMN ops.stream_rhythms.messages IS 'Messages that it was learned from';
COMMENT ON COLUMN ops.stream_rhythms.threshold_s IS 'The silence that makes the stream suspect';
COMMENT ON COLUMN ops.stream_rhythms.updated_at IS 'When it was last learned anew';

COMMENT ON COLUMN ops.incidents.market IS 'Such as spot';
COMMENT ON COLUMN ops.incidents.feed IS 'Null when it concerns more than one connection';
COMMENT ON COLUMN ops.incidents.diagnosis IS 'Why, in one word';
COMMENT ON COLUMN ops.incidents.evidence IS 'What the diagnosis rests on';
COMMENT ON COLUMN ops.incidents.step IS 'The newest step of repair';
COMMENT ON COLUMN ops.incidents.opened_at IS 'When it was noticed';
COMMENT ON COLUMN ops.incidents.closed_at IS 'When it was over; null while it is not';
COMMENT ON COLUMN ops.incidents.updated_at IS 'When the row was last written, by the server''s clock';

COMMENT ON COLUMN ops.schema_migrations.version IS 'Number of the file';
COMMENT ON COLUMN ops.schema_migrations.name IS 'Name of the file';
COMMENT ON COLUMN ops.schema_migrations.applied_at IS 'When it was applied, by the server''s clock';
COMMENT ON COLUMN ops.schema_migrations.duration_ms IS 'How long it took';

COMMENT ON COLUMN ops.capability.is_only IS 'Always true: there is one row';
COMMENT ON COLUMN ops.capability.warnings IS 'What was told about this server, in sentences';
COMMENT ON COLUMN ops.capability.probed_at IS 'When it was found, by the server''s clock';

COMMENT ON COLUMN ops.storage.kind IS 'partitions, hypertable, table or continuous_aggregate';
COMMENT ON COLUMN ops.storage.arranged_at IS 'When that was, by the server''s clock';

COMMENT ON COLUMN ops.conversions.relation IS 'The table that is converted';
COMMENT ON COLUMN ops.conversions.partition IS 'The partition that was copied';
COMMENT ON COLUMN ops.conversions.row_count IS 'Its rows';
COMMENT ON COLUMN ops.conversions.converted_at IS 'When it was copied, by the server''s clock';

COMMENT ON COLUMN spot.latest_trades.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.latest_trades.trade_id IS 'The exchange''s; consecutive for a symbol';
COMMENT ON COLUMN spot.latest_trades.ts IS 'Time of the trade at the exchange';
COMMENT ON COLUMN spot.latest_trades.price IS 'In the quote asset, as printed';
COMMENT ON COLUMN spot.latest_trades.qty IS 'In the base asset, as printed';
COMMENT ON COLUMN spot.latest_trades.buyer_is_maker IS 'True when the aggressor sold';
COMMENT ON COLUMN spot.latest_trades.recv_ts IS 'When the message left our socket, by the shard''s clock; for a repaired row: when REST answered';

COMMENT ON COLUMN spot.latest_book_tickers.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.latest_book_tickers.update_id IS 'Update of the book that this is the best of; rising, not consecutive';
COMMENT ON COLUMN spot.latest_book_tickers.ts IS 'Our receive time: the exchange sends none with this stream';
COMMENT ON COLUMN spot.latest_book_tickers.bid_price IS 'Best bid';
COMMENT ON COLUMN spot.latest_book_tickers.bid_qty IS 'Quantity at the best bid';
COMMENT ON COLUMN spot.latest_book_tickers.ask_price IS 'Best ask';
COMMENT ON COLUMN spot.latest_book_tickers.ask_qty IS 'Quantity at the best ask';
COMMENT ON COLUMN spot.latest_book_tickers.recv_ts IS 'The same as ts';

COMMENT ON COLUMN spot.latest_books.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.latest_books.last_update_id IS 'The book as it stood after this update';
COMMENT ON COLUMN spot.latest_books.bid_prices IS 'Best first';
COMMENT ON COLUMN spot.latest_books.bid_qtys IS 'Quantity at the price of the same index';
COMMENT ON COLUMN spot.latest_books.ask_prices IS 'Best first';
COMMENT ON COLUMN spot.latest_books.ask_qtys IS 'Quantity at the price of the same index';

COMMENT ON COLUMN ops.role_rights.role IS 'ingest_writer or ingest_reader';
COMMENT ON COLUMN ops.role_rights.schema_name IS 'Where the objects are';
COMMENT ON COLUMN ops.role_rights.kind IS 'relation or function';
COMMENT ON COLUMN ops.role_rights.rights IS 'What is granted, as GRANT names it';
