-- Version 5: lanes know whom they count for, so that nobody takes up every delivery slot. Both are keyed hashes.
ALTER TABLE outbox_lane ADD COLUMN account {blob};
ALTER TABLE outbox_lane ADD COLUMN origin {blob};
