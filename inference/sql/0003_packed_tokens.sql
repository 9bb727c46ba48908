-- Tokens in a third of the space, to the last bit: what the columns hold is in inference/packing.py. Rows from before
-- keep the plain arrays (ids, logprobs, top_ids, …) and are read as well. Codecs were chosen by measuring
-- (docs/decisions.md, bench/store.py).

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS unit UInt8 CODEC(ZSTD(1))
    COMMENT 'A step is 2 to the power of -unit; 0: the row has plain arrays' AFTER logprobs_mode;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS `token.anchor` Array(Float32) CODEC(ZSTD(3))
    COMMENT 'For each position: the logprob of its likeliest alternative, or the sampled one''s' AFTER unit;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS `token.place` Array(UInt8) CODEC(ZSTD(3))
    COMMENT 'The sampled token''s place among its alternatives, from 0; 255: outside' AFTER `token.anchor`;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS `token.alternatives` Array(UInt8) CODEC(ZSTD(3))
    COMMENT 'How many there are' AFTER `token.place`;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS alternative Array(UInt32) CODEC(T64, ZSTD(3))
    COMMENT 'The alternatives of all positions, in order of probability' AFTER `token.alternatives`;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS step Array(Int32) CODEC(T64, ZSTD(3))
    COMMENT 'Steps down from one alternative to the next within a position, whose first is its anchor' AFTER alternative;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS `outside.id` Array(UInt32) CODEC(ZSTD(3))
    COMMENT 'The sampled tokens that are no alternatives' AFTER step;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS `outside.step` Array(Int32) CODEC(ZSTD(3))
    COMMENT 'Steps down from the anchor' AFTER `outside.id`;

ALTER TABLE tokens ADD COLUMN IF NOT EXISTS rest Array(Int32) CODEC(T64, ZSTD(3))
    COMMENT 'What the bits of the logprobs lie above that, alternatives first; empty: nothing' AFTER `outside.step`;
