-- What programs show to use the API.
CREATE TABLE api_tokens (name TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;
