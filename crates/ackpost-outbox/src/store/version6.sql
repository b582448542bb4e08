-- Version 6: what lists show of the entries of one URL is stored once. `outbox_entry.shared` stays when an entry is
-- settled, and `outbox_entry.label` is empty where `target_no` is set.
ALTER TABLE outbox_shared ADD COLUMN label {blob}; -- sealed: addresses, masked URLs; `sealed` is emptied before
ALTER TABLE outbox_entry ADD COLUMN target_no BIGINT; -- the number of its target in that label
ALTER TABLE outbox_entry ADD COLUMN stamp BIGINT; -- of its first piece; once pieces are fixed, they are in `sealed`
DROP INDEX outbox_entry_shared;
CREATE INDEX outbox_entry_shared ON outbox_entry (shared) WHERE shared IS NOT NULL AND sealed IS NOT NULL;
DROP INDEX outbox_entry_bundle;
CREATE INDEX outbox_entry_bundle ON outbox_entry (bundle) WHERE bundle IS NOT NULL;
CREATE INDEX outbox_entry_held ON outbox_entry (lane) WHERE state = 1 AND hold > 0;
