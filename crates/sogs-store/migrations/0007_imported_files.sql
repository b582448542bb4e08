-- Files of a former server that hang on no message, because its old API did not note which one. Everybody who reads the
-- room may fetch them; an upload that waits to be attached is its owner's.

-- NULL: written by a version without this mark. The server decides when it opens the database, by the time for which an
-- upload waits.
ALTER TABLE files ADD COLUMN imported BOOLEAN;
CREATE INDEX files_unmarked ON files (id) WHERE imported IS NULL;
