-- Version 3: what the entries of one message to one URL have in common is stored once.
CREATE TABLE outbox_shared (
    id BIGINT PRIMARY KEY,
    sealed {blob} NOT NULL               -- sealed: URL, rules, message
);
ALTER TABLE outbox_entry ADD COLUMN shared BIGINT; -- its row there; `sealed` holds the rest
CREATE INDEX outbox_entry_shared ON outbox_entry (shared) WHERE shared IS NOT NULL;
