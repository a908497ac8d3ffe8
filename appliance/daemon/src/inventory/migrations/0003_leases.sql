-- Leases by number: rows a fifth as long, and new ones at the end of the table, so that a commit of many touches few pages.
CREATE TABLE leases_by_number (address INTEGER PRIMARY KEY, mac BLOB NOT NULL, client_id BLOB, expires INTEGER NOT NULL) STRICT;
INSERT INTO leases_by_number (address, mac, client_id, expires)
SELECT
    json_extract(quads, '$[0]') * 16777216 + json_extract(quads, '$[1]') * 65536 + json_extract(quads, '$[2]') * 256
        + json_extract(quads, '$[3]'),
    unhex(replace(json_extract(json, '$.mac'), ':', '')),
    (SELECT unhex(group_concat(printf('%02x', value), '')) FROM json_each(old.json, '$.client_id') WHERE value IS NOT NULL),
    json_extract(json, '$.expires')
FROM (SELECT json, '[' || replace(address, '.', ',') || ']' AS quads FROM leases) AS old;
DROP TABLE leases;
ALTER TABLE leases_by_number RENAME TO leases;
