CREATE TABLE IF NOT EXISTS bridge_meta (
    bridge TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (bridge, name)
);
CREATE TABLE IF NOT EXISTS bridge_entry (
    id ID_TYPE,
    bridge TEXT NOT NULL,
    side TEXT NOT NULL,
    source TEXT NOT NULL,
    native TEXT NOT NULL,
    reference TEXT NOT NULL,
    author TEXT NOT NULL,
    job TEXT NOT NULL,
    state TEXT NOT NULL,
    prepared TEXT NOT NULL,
    made BIGINT NOT NULL,
    due BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    error TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS bridge_entry_source ON bridge_entry (bridge, side, source);
CREATE INDEX IF NOT EXISTS bridge_entry_open ON bridge_entry (bridge, side, state, id);
CREATE INDEX IF NOT EXISTS bridge_entry_reference ON bridge_entry (bridge, side, reference);
CREATE INDEX IF NOT EXISTS bridge_entry_made ON bridge_entry (made);
CREATE TABLE IF NOT EXISTS bridge_map (
    id ID_TYPE,
    bridge TEXT NOT NULL,
    xmpp TEXT NOT NULL,
    origin TEXT NOT NULL,
    nick TEXT NOT NULL,
    session BIGINT NOT NULL,
    quote_at BIGINT NOT NULL,
    quote_author TEXT NOT NULL,
    excerpt TEXT NOT NULL,
    from_xmpp BIGINT NOT NULL,
    part BIGINT NOT NULL,
    made BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS bridge_map_xmpp ON bridge_map (bridge, xmpp);
CREATE INDEX IF NOT EXISTS bridge_map_origin ON bridge_map (bridge, origin);
CREATE INDEX IF NOT EXISTS bridge_map_session ON bridge_map (bridge, session);
CREATE INDEX IF NOT EXISTS bridge_map_quote ON bridge_map (bridge, quote_at);
CREATE INDEX IF NOT EXISTS bridge_map_made ON bridge_map (made);
CREATE TABLE IF NOT EXISTS bridge_earlier_quote (
    bridge TEXT NOT NULL,
    quote_at BIGINT NOT NULL,
    session BIGINT NOT NULL,
    made BIGINT NOT NULL,
    PRIMARY KEY (bridge, quote_at, session)
);
CREATE INDEX IF NOT EXISTS bridge_earlier_quote_made ON bridge_earlier_quote (made);
CREATE TABLE IF NOT EXISTS bridge_person (
    bridge TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (bridge, id)
);
CREATE TABLE IF NOT EXISTS bridge_reaction (
    bridge TEXT NOT NULL,
    side TEXT NOT NULL,
    target TEXT NOT NULL,
    person TEXT NOT NULL,
    emoji TEXT NOT NULL,
    made BIGINT NOT NULL,
    PRIMARY KEY (bridge, side, target, person)
);
