-- Version 1; later versions add to it. One text for both databases; {id} is an ascending key made by the database, {blob} the type of bytes.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE outbox_lane (
    id {blob} PRIMARY KEY,               -- keyed hash of service and target
    service TEXT NOT NULL,
    due_at BIGINT NOT NULL,              -- when somebody should look at it; the largest number: never
    held_until BIGINT NOT NULL DEFAULT 0, -- its first entry may not go before that, whatever is added behind it
    leased_by TEXT,
    leased_until BIGINT NOT NULL DEFAULT 0,
    failures BIGINT NOT NULL DEFAULT 0,  -- in a row
    failing_since BIGINT,
    alarm_after BIGINT,
    alarmed_at BIGINT,
    last_stamp BIGINT NOT NULL DEFAULT 0,
    recent {blob} NOT NULL               -- times of the latest posts, 8 bytes each, for the budget
);
CREATE INDEX outbox_lane_due ON outbox_lane (due_at);

CREATE TABLE outbox_entry (
    seq {id},
    id TEXT NOT NULL UNIQUE,
    lane {blob} NOT NULL,
    service TEXT NOT NULL,
    state BIGINT NOT NULL,               -- 0 collecting, 1 waiting, 2 delivered, 3 dead, 4 dropped, 5 partial
    accepted_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    settled_at BIGINT,
    attempts BIGINT NOT NULL DEFAULT 0,
    maybe_sent BIGINT NOT NULL DEFAULT 0, -- an attempt at the current piece was begun
    pieces BIGINT NOT NULL,
    pieces_done BIGINT NOT NULL DEFAULT 0,
    folded BIGINT NOT NULL DEFAULT 0,
    fold_key {blob},
    hold BIGINT NOT NULL DEFAULT 0,
    alarmed BIGINT NOT NULL DEFAULT 0,
    bundle TEXT,                         -- its files
    label {blob} NOT NULL,               -- sealed: what lists show
    sealed {blob},                       -- sealed: URL, message, pieces; gone once it is delivered or dropped
    outcome {blob}                       -- sealed: the latest
);
CREATE INDEX outbox_entry_lane ON outbox_entry (lane, state, seq);
CREATE INDEX outbox_entry_state ON outbox_entry (state, seq);
CREATE INDEX outbox_entry_bundle ON outbox_entry (bundle);

CREATE TABLE outbox_window (
    lane {blob} NOT NULL,
    fold_key {blob} NOT NULL,
    until_at BIGINT NOT NULL,
    entry BIGINT NOT NULL,               -- the entry that collects, or 0
    PRIMARY KEY (lane, fold_key)
);

CREATE TABLE outbox_file (
    bundle TEXT NOT NULL,
    part BIGINT NOT NULL,
    sealed {blob} NOT NULL,
    PRIMARY KEY (bundle, part)
);

CREATE TABLE outbox_event (
    seq {id},
    at BIGINT NOT NULL,
    entry TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail {blob}                        -- sealed
);
CREATE INDEX outbox_event_entry ON outbox_event (entry);
CREATE INDEX outbox_event_at ON outbox_event (at);

CREATE TABLE outbox_counter (
    service TEXT PRIMARY KEY,
    delivered BIGINT NOT NULL DEFAULT 0,
    deferred BIGINT NOT NULL DEFAULT 0,
    refused BIGINT NOT NULL DEFAULT 0,
    expired BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    latency_ms BIGINT NOT NULL DEFAULT 0,
    latency_0 BIGINT NOT NULL DEFAULT 0,
    latency_1 BIGINT NOT NULL DEFAULT 0,
    latency_2 BIGINT NOT NULL DEFAULT 0,
    latency_3 BIGINT NOT NULL DEFAULT 0,
    latency_4 BIGINT NOT NULL DEFAULT 0,
    latency_5 BIGINT NOT NULL DEFAULT 0,
    latency_6 BIGINT NOT NULL DEFAULT 0
);
