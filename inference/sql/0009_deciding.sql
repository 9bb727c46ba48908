-- How undecided the model was over the part of an answer that decided it (inference/deciding.py): what queues are drawn
-- by. Rows from before have none.

ALTER TABLE facts ADD COLUMN IF NOT EXISTS deciding_entropy Nullable(Float64) CODEC(ZSTD(1))
    COMMENT 'Bits a token' AFTER entropy;

ALTER TABLE facts ADD COLUMN IF NOT EXISTS deciding_margin Nullable(Float64) CODEC(ZSTD(1))
    COMMENT 'By how much the likeliest token led the second' AFTER deciding_entropy;
