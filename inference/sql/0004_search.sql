-- What people search for in questions and answers, whatever its case, through an index of three letters each: without it
-- a search reads every text. The condition in inference/conditions.py must be this expression.

ALTER TABLE facts ADD INDEX IF NOT EXISTS said lowerUTF8(concat(question, '\n', answer))
    TYPE text(tokenizer = ngrams(3));

ALTER TABLE facts MATERIALIZE INDEX said;

ALTER TABLE facts ADD COLUMN IF NOT EXISTS answered Bool MATERIALIZED notEmpty(answer) CODEC(ZSTD(1)) AFTER answer;
