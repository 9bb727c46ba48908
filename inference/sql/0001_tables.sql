-- Every statement may run twice, and two processes may run it at once: ClickHouse has no transactions for DDL.
-- Codecs and engines are the same on a server and embedded. fsync: an acknowledged insert is on disk.
-- Deduplication windows: an insert that is sent again with its token counts once (inference/clickhouse.py).

CREATE TABLE IF NOT EXISTS exchanges
(
    exchange_id UUID,
    attempt UInt8,
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    finished_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    first_token_seconds Nullable(Float64) CODEC(ZSTD(1)),
    surface LowCardinality(String),
    streamed Bool,
    route LowCardinality(String),
    model LowCardinality(String),
    weights LowCardinality(String),
    base_weights LowCardinality(String),
    upstream LowCardinality(String),
    key LowCardinality(String),
    user String CODEC(ZSTD(1)),
    session String CODEC(ZSTD(1)),
    conversation String CODEC(ZSTD(1)),
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    parent_span_id String CODEC(ZSTD(1)),
    status UInt16 CODEC(ZSTD(1)),
    end_reason LowCardinality(String),
    error String CODEC(ZSTD(1)),
    messages String CODEC(ZSTD(3)) COMMENT 'JSON: the chat''s messages',
    choices String CODEC(ZSTD(3)) COMMENT 'JSON: index, text, finish_reason, reasoning, tool_calls of each choice',
    params String CODEC(ZSTD(1)) COMMENT 'JSON: sampling parameters of the request',
    prompt_tokens UInt32 CODEC(ZSTD(1)),
    completion_tokens UInt32 CODEC(ZSTD(1)),
    prompt_token_ids Array(UInt32) CODEC(ZSTD(1)),
    capture LowCardinality(String),
    top_k UInt8,
    tokens_expected Bool COMMENT 'Token rows should exist; without them after a deadline they are missing',
    tokens_match Nullable(Bool),
    logprobs_mode LowCardinality(String),
    tokenizer LowCardinality(String),
    request String CODEC(ZSTD(3)) COMMENT 'The client''s body, byte for byte',
    response String CODEC(ZSTD(3)) COMMENT 'The engine''s answer, byte for byte',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(started_at)
ORDER BY (conversation, started_at, exchange_id, attempt)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS tokens
(
    exchange_id UUID,
    attempt UInt8,
    choice UInt16,
    source LowCardinality(String) COMMENT 'wire, engine, or the model version that scored it later',
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'The exchange''s',
    weights LowCardinality(String) COMMENT 'Of what gave these probabilities',
    tokenizer LowCardinality(String),
    logprobs_mode LowCardinality(String),
    ids Array(UInt32) CODEC(ZSTD(1)),
    logprobs Array(Float32) CODEC(ZSTD(1)) COMMENT 'Natural logarithms of the sampled tokens',
    top_ids Array(UInt32) CODEC(ZSTD(1)) COMMENT 'Flattened: position i has [top_offsets[i], top_offsets[i + 1])',
    top_logprobs Array(Float32) CODEC(ZSTD(1)),
    top_offsets Array(UInt32) CODEC(ZSTD(1)) COMMENT 'One more than there are positions, from 0',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(started_at)
ORDER BY (started_at, exchange_id, attempt, choice, source)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- The OpenTelemetry collector's otel_traces, so that its exporter can write here too.
CREATE TABLE IF NOT EXISTS spans
(
    Timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)) COMMENT 'Nanoseconds',
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (Timestamp DateTime64(9, 'UTC'), Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    Links Nested (TraceId String, SpanId String, TraceState String,
        Attributes Map(LowCardinality(String), String)) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(Timestamp)
ORDER BY (TraceId, Timestamp, SpanId)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What the explorer filters and sorts by: narrow, in order of time. Question and answer are cut for the list.
CREATE TABLE IF NOT EXISTS facts
(
    exchange_id UUID,
    attempt UInt8,
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    surface LowCardinality(String),
    streamed Bool,
    route LowCardinality(String),
    model LowCardinality(String),
    weights LowCardinality(String),
    upstream LowCardinality(String),
    key LowCardinality(String),
    user String CODEC(ZSTD(1)),
    session String CODEC(ZSTD(1)),
    conversation String CODEC(ZSTD(1)),
    group String CODEC(ZSTD(1)) COMMENT 'Siblings share it: the tag group, else session, else conversation',
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    status UInt16 CODEC(ZSTD(1)),
    end_reason LowCardinality(String),
    seconds Float64 CODEC(ZSTD(1)),
    first_token_seconds Nullable(Float64) CODEC(ZSTD(1)),
    prompt_tokens UInt32 CODEC(ZSTD(1)),
    completion_tokens UInt32 CODEC(ZSTD(1)),
    capture LowCardinality(String),
    mean_p Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Geometric mean of the first choice''s token probabilities',
    least_p Nullable(Float64) CODEC(ZSTD(1)),
    question String CODEC(ZSTD(1)),
    answer String CODEC(ZSTD(1)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX by_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(stored_at)
PARTITION BY toYYYYMM(started_at)
ORDER BY (started_at, exchange_id, attempt)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What came to be known of an exchange after it was stored: feedback, a disconnect after its end.
CREATE TABLE IF NOT EXISTS events
(
    exchange_id UUID,
    attempt UInt8,
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'The exchange''s',
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    event_id UUID,
    kind LowCardinality(String),
    source LowCardinality(String) COMMENT 'Who says so',
    data String CODEC(ZSTD(1)) COMMENT 'JSON',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(started_at)
ORDER BY (started_at, exchange_id, attempt, at, event_id)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
