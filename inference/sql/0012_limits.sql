-- Until when each route's texts are kept, as the last run of retention knew it: what drains go by for what they kept aside
-- (inference/aside.py). A row a route; a name that ends with a colon stands for every one that begins so.

CREATE TABLE IF NOT EXISTS kept_from
(
    route String,
    before DateTime64(6, 'UTC') COMMENT 'What began earlier is not kept; 1970: everything is',
    at DateTime64(3, 'UTC') COMMENT 'Of the run: the newest one counts, also that it is silent about a route'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY route
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
