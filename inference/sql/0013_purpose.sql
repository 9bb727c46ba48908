-- What Flywheel asked for by itself, told from traffic by a tag (inference/purposes.py, whose names these are): queues draw
-- from traffic alone, and reading every row's tags to tell took a third of a draw.

ALTER TABLE facts ADD COLUMN IF NOT EXISTS purpose LowCardinality(String) MATERIALIZED multiIf(
    mapContains(tags, 'suggestion'), 'suggestion',
    mapContains(tags, 'evaluation'), 'evaluation',
    mapContains(tags, 'again'), 'again', '') CODEC(ZSTD(1)) AFTER answered;

ALTER TABLE facts MATERIALIZE COLUMN purpose;
