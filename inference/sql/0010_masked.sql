-- How many values of an exchange were masked before it was stored (inference/masking.py).

ALTER TABLE exchanges ADD COLUMN IF NOT EXISTS masked UInt32 CODEC(ZSTD(1)) AFTER cleared;
