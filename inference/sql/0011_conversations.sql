-- Where in time a conversation lies: facts are in order of time, and the list of conversations asks for some fifty by name.

ALTER TABLE facts ADD INDEX IF NOT EXISTS by_conversation conversation TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE facts MATERIALIZE INDEX by_conversation;
