-- What expires: bodies, tokens, metadata (inference/retention.py). ``cleared`` says why a row has no bodies any more.

ALTER TABLE exchanges ADD COLUMN IF NOT EXISTS cleared LowCardinality(String) CODEC(ZSTD(1))
    COMMENT 'Why the bodies are gone: expired; empty: they are here' AFTER response;

ALTER TABLE facts ADD COLUMN IF NOT EXISTS cleared LowCardinality(String) CODEC(ZSTD(1)) AFTER answer;

ALTER TABLE events ADD COLUMN IF NOT EXISTS cleared LowCardinality(String) CODEC(ZSTD(1)) AFTER data;

-- Exchanges that must not expire, as of one run: those that a dataset uses, and whose metadata a queue needs.
CREATE TABLE IF NOT EXISTS held
(
    run UUID,
    exchange_id UUID,
    bodies Bool COMMENT 'Bodies and tokens, too; else the metadata alone'
)
ENGINE = MergeTree
PARTITION BY run
ORDER BY exchange_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
