-- What a host boots from the network at each boot, and erases nothing by it. A version that knows nothing of installers would
-- not read their tasks, so it has to refuse this format.
CREATE TABLE live_boots (
    host BLOB PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    json TEXT NOT NULL
) STRICT;
