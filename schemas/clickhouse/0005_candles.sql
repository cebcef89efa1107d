-- One row for each fired window of the built-in meter `candles`. The subject coinbase:BTC-USD is
-- the product BTC-USD on the exchange coinbase. `origin` says what a candle was computed from.
-- FINAL stands here, so that it is one row whatever the reader's profile says.
CREATE VIEW IF NOT EXISTS candles AS
SELECT
    tenant,
    substring(labels['subject'], 1, position(labels['subject'], ':') - 1) AS exchange,
    substring(labels['subject'], position(labels['subject'], ':') + 1) AS product,
    window_ms,
    window_start,
    values['open'] AS open,
    values['high'] AS high,
    values['low'] AS low,
    values['close'] AS close,
    values['volume'] AS volume,
    values['vwap'] AS vwap,
    toUInt64(ifNull(values['trades'], 0)) AS trades,
    revision,
    'trades' AS origin
FROM metrics FINAL
WHERE meter = 'candles';
