-- Version 4: deliveries in doubt are counted.
ALTER TABLE outbox_counter ADD COLUMN repeated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outbox_counter ADD COLUMN late BIGINT NOT NULL DEFAULT 0;
