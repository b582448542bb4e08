-- Indexes for queries that went through whole tables, in part while everybody else who writes waited.

-- Two rows that turn out to be one person are joined: everything that refers to the one that goes is looked for.
CREATE INDEX messages_whisper_to ON messages (whisper_to) WHERE whisper_to IS NOT NULL;
CREATE INDEX user_reactions_user ON user_reactions (user_id);
CREATE INDEX room_users_user ON room_users (user_id);
CREATE INDEX permission_futures_person ON permission_futures (user_id);

-- The cleanup asks every ten seconds for activity that is old enough to go.
CREATE INDEX room_users_last_active ON room_users (last_active);

-- Lists of bans.
CREATE INDEX users_banned ON users (id) WHERE banned;
CREATE INDEX permission_overrides_banned ON permission_overrides (user_id, room_id) WHERE banned;
