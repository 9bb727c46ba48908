-- Events name an exchange or a trace. What filters ask of feedback is read from its data when it is written.

ALTER TABLE events ADD COLUMN IF NOT EXISTS trace_id String CODEC(ZSTD(1)) AFTER data;

ALTER TABLE events ADD COLUMN IF NOT EXISTS thumbs LowCardinality(String)
    MATERIALIZED JSONExtractString(data, 'thumbs') AFTER trace_id;

ALTER TABLE events ADD COLUMN IF NOT EXISTS score Nullable(Float64)
    MATERIALIZED JSONExtract(data, 'score', 'Nullable(Float64)') CODEC(ZSTD(1)) AFTER thumbs;

ALTER TABLE events ADD COLUMN IF NOT EXISTS user String
    MATERIALIZED JSONExtractString(data, 'user') CODEC(ZSTD(1)) AFTER score;

ALTER TABLE events ADD INDEX IF NOT EXISTS by_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 4;
