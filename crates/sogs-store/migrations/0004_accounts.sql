-- One person is one row of `users`, whichever id is used: account (05), blinded (15, of either sign) or blinded (25).

-- The blinded ids that follow from a person's key, with the sign bit clear: the 15 one stands for the account id too. A
-- person known by a 25 id alone has that one key, until the id that it was made of shows up.
CREATE TABLE account_ids (
    key TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX account_ids_user ON account_ids (user_id);

-- Rows that turned out to be somebody who has another row already; what the log and archives say of them means that one.
CREATE TABLE joined_users (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_id TEXT NOT NULL
);
CREATE INDEX joined_users_user ON joined_users (user_id);

-- False: named by somebody else (a grant, a ban), and never seen here.
ALTER TABLE users ADD COLUMN visited BOOLEAN NOT NULL DEFAULT TRUE;
UPDATE users SET visited = FALSE WHERE id IN (SELECT user_id FROM needs_blinding) AND session_id LIKE '05%';

-- The id that signed, where it is not the one that the person is shown under now.
ALTER TABLE messages ADD COLUMN posted_as TEXT;
ALTER TABLE inbox ADD COLUMN recipient_as TEXT;
ALTER TABLE inbox ADD COLUMN sender_as TEXT;

-- The ids in it follow from the people they belong to.
DROP TABLE needs_blinding;
