-- Facts about the community as a whole. `public_key`: the key that join links name, in hexadecimal, so that a server
-- whose key file is lost or is that of another community does not start on this database.
CREATE TABLE community (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
