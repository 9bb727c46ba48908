-- What engines, GPUs and spools show of themselves every few seconds (inference/vitals.py). A long table: a metric more
-- is no migration. Sorted so that one series lies together: times then differ by the same step and values little.
-- How long rows are kept is FLYWHEEL_VITALS_DAYS; whole weeks go at once.

CREATE TABLE IF NOT EXISTS vitals
(
    at DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    metric LowCardinality(String),
    source LowCardinality(String) COMMENT 'An upstream or a spool',
    part LowCardinality(String) COMMENT 'One of its GPUs; empty: the whole',
    value Float64 CODEC(Gorilla, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toMonday(at)
ORDER BY (source, metric, part, at)
TTL at + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 100, replicated_deduplication_window = 100;
