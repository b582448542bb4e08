-- Pages for browsers: an index to search in, and small versions of pictures. The server makes both in the background from
-- what is stored. The queues hold what is still to be looked at; triggers fill them, whichever statement changes a row,
-- and remove from the index at once what is no longer shown.

-- The stored small version of an attached picture; `content` is its name among the contents.
CREATE TABLE thumbnails (
    file_id BIGINT NOT NULL PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    content TEXT NOT NULL,
    size BIGINT NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL
);
CREATE INDEX thumbnails_content ON thumbnails (content);

-- for sqlite:
CREATE TABLE search_queue (message_id INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE thumbnail_queue (file_id INTEGER NOT NULL PRIMARY KEY);
-- The rowid is the number of the message. Texts are stored in `messages` alone. They come with their words separated by
-- spaces already.
CREATE VIRTUAL TABLE search_index USING fts5 (room, text, content = '', contentless_delete = 1, tokenize = 'ascii');

CREATE TRIGGER messages_added AFTER INSERT ON messages
WHEN new.data IS NOT NULL AND NOT new.filtered AND new.whisper_to IS NULL AND NOT new.whisper_mods
    AND new.for_moderators_of IS NULL
BEGIN
    INSERT OR IGNORE INTO search_queue (message_id) VALUES (new.id);
END;
CREATE TRIGGER messages_changed AFTER UPDATE OF data, filtered, room_id ON messages
WHEN old.data IS NOT new.data OR old.filtered <> new.filtered OR old.room_id <> new.room_id
BEGIN
    DELETE FROM search_index WHERE rowid = old.id;
    INSERT OR IGNORE INTO search_queue (message_id) VALUES (new.id);
END;
CREATE TRIGGER messages_removed AFTER DELETE ON messages
BEGIN
    DELETE FROM search_index WHERE rowid = old.id;
    DELETE FROM search_queue WHERE message_id = old.id;
END;
CREATE TRIGGER files_added AFTER INSERT ON files WHEN new.message_id IS NOT NULL
BEGIN
    INSERT OR IGNORE INTO thumbnail_queue (file_id) VALUES (new.id);
END;
CREATE TRIGGER files_changed AFTER UPDATE OF message_id, content ON files
WHEN new.message_id IS NOT NULL AND (old.message_id IS NOT new.message_id OR old.content <> new.content)
BEGIN
    INSERT OR IGNORE INTO thumbnail_queue (file_id) VALUES (new.id);
END;
CREATE TRIGGER files_removed AFTER DELETE ON files
BEGIN
    DELETE FROM thumbnail_queue WHERE file_id = old.id;
END;

-- for postgresql:
CREATE TABLE search_queue (message_id BIGINT NOT NULL PRIMARY KEY);
CREATE TABLE thumbnail_queue (file_id BIGINT NOT NULL PRIMARY KEY);
CREATE TABLE search_index (
    message_id BIGINT NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    room_id BIGINT NOT NULL,
    words TSVECTOR NOT NULL
);
CREATE INDEX search_index_words ON search_index USING GIN (words);
CREATE INDEX search_index_order ON search_index (room_id, message_id);

CREATE FUNCTION search_later() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM search_index WHERE message_id = OLD.id;
    END IF;
    INSERT INTO search_queue (message_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION search_never() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM search_queue WHERE message_id = OLD.id;
    RETURN NULL;
END $$;
CREATE FUNCTION thumbnail_later() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO thumbnail_queue (file_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION thumbnail_never() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM thumbnail_queue WHERE file_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_added AFTER INSERT ON messages FOR EACH ROW
WHEN (NEW.data IS NOT NULL AND NOT NEW.filtered AND NEW.whisper_to IS NULL AND NOT NEW.whisper_mods
    AND NEW.for_moderators_of IS NULL)
EXECUTE FUNCTION search_later();
CREATE TRIGGER messages_changed AFTER UPDATE OF data, filtered, room_id ON messages FOR EACH ROW
WHEN (OLD.data IS DISTINCT FROM NEW.data OR OLD.filtered <> NEW.filtered OR OLD.room_id <> NEW.room_id)
EXECUTE FUNCTION search_later();
CREATE TRIGGER messages_removed AFTER DELETE ON messages FOR EACH ROW EXECUTE FUNCTION search_never();
CREATE TRIGGER files_added AFTER INSERT ON files FOR EACH ROW
WHEN (NEW.message_id IS NOT NULL)
EXECUTE FUNCTION thumbnail_later();
CREATE TRIGGER files_changed AFTER UPDATE OF message_id, content ON files FOR EACH ROW
WHEN (NEW.message_id IS NOT NULL AND (OLD.message_id IS DISTINCT FROM NEW.message_id OR OLD.content <> NEW.content))
EXECUTE FUNCTION thumbnail_later();
CREATE TRIGGER files_removed AFTER DELETE ON files FOR EACH ROW EXECUTE FUNCTION thumbnail_never();

-- for both:
-- What is there already. The numbers alone are quick to copy.
INSERT INTO search_queue (message_id) SELECT id FROM messages;
INSERT INTO thumbnail_queue (file_id) SELECT id FROM files WHERE message_id IS NOT NULL;
