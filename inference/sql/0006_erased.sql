-- What was erased at somebody's wish: the drain drops what of it still arrives (inference/erased.py). Holds no personal
-- data: users and sessions are salted hashes, the rest are ids of what is gone.

CREATE TABLE IF NOT EXISTS erased
(
    kind LowCardinality(String) COMMENT 'user and session: a salted hash; exchange, trace and the like: an id',
    id String,
    erasure UUID,
    salt String,
    before DateTime64(6, 'UTC') COMMENT 'Of a user and a session: what began earlier',
    place LowCardinality(String) COMMENT 'Where it was found: asked, store, copies, spool, quarantine',
    added_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(added_at)
ORDER BY (kind, id, erasure)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What a mutation replaced leaves the disk within two minutes. The default of eight, and up to five more until somebody
-- looks, is for merges that are not synced; ours are.

ALTER TABLE exchanges MODIFY SETTING old_parts_lifetime = 30, max_cleanup_delay_period = 60;

ALTER TABLE tokens MODIFY SETTING old_parts_lifetime = 30, max_cleanup_delay_period = 60;

ALTER TABLE spans MODIFY SETTING old_parts_lifetime = 30, max_cleanup_delay_period = 60;

ALTER TABLE facts MODIFY SETTING old_parts_lifetime = 30, max_cleanup_delay_period = 60;

ALTER TABLE events MODIFY SETTING old_parts_lifetime = 30, max_cleanup_delay_period = 60;
