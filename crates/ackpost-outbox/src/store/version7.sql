-- Version 7: answers. A message may carry a context, a text that only the program reads; a delivered message leads to its
-- context for a week. What people did about it is kept as a log that is only added to. Gestures and acts are few, so that
-- they have no index by time: an empty index costs a page of 8 KiB on PostgreSQL.
CREATE TABLE outbox_context (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    sealed {blob} NOT NULL
);
CREATE INDEX outbox_context_at ON outbox_context (at);
ALTER TABLE outbox_entry ADD COLUMN context BIGINT;
CREATE TABLE outbox_link (
    id {blob} PRIMARY KEY,               -- keyed hash of the lane and the id of the message there
    lane {blob} NOT NULL,
    context BIGINT NOT NULL,
    at BIGINT NOT NULL,
    sealed {blob} NOT NULL               -- sealed: the id of the message
);
CREATE INDEX outbox_link_lane ON outbox_link (lane, at);
CREATE INDEX outbox_link_at ON outbox_link (at);
CREATE TABLE outbox_gesture (
    id {blob} PRIMARY KEY,               -- keyed hash of the place and the id of the gesture: acted on once
    at BIGINT NOT NULL
);
CREATE TABLE outbox_act (
    seq {id},
    at BIGINT NOT NULL,
    gesture {blob} NOT NULL,
    subject {blob} NOT NULL,             -- keyed hash of what the act is about
    kind TEXT NOT NULL,
    result TEXT NOT NULL,
    sealed {blob} NOT NULL
);
CREATE INDEX outbox_act_subject ON outbox_act (subject, seq);
