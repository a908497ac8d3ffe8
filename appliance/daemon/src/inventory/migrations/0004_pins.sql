-- Pins of the header that switch or read a host's power, for one host each. A version that knows nothing of them would lose
-- them when it stores a host, so it has to refuse this format.
CREATE TABLE host_pins (
    pin INTEGER PRIMARY KEY,
    host BLOB NOT NULL REFERENCES hosts (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX host_pins_host ON host_pins (host);
