-- How undecided the model was over an answer, in bits a token: what exchanges are filtered by. Rows from before have none.

ALTER TABLE facts ADD COLUMN IF NOT EXISTS entropy Nullable(Float64) CODEC(ZSTD(1)) AFTER least_p;
