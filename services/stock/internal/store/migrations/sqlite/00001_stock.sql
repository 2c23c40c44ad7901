-- +goose Up
CREATE TABLE items (
    item_id INTEGER NOT NULL PRIMARY KEY,
    policy  TEXT    NOT NULL CHECK (policy IN ('deny', 'backorder'))
) STRICT;

CREATE TABLE stock (
    item_id   INTEGER NOT NULL REFERENCES items (item_id),
    location  TEXT    NOT NULL CHECK (location <> ''),
    on_hand   INTEGER NOT NULL CHECK (on_hand BETWEEN -1000000000000 AND 1000000000000),
    available INTEGER NOT NULL,
    held      INTEGER NOT NULL CHECK (held >= 0),      -- by reservations
    committed INTEGER NOT NULL CHECK (committed >= 0), -- sold and not yet sent
    floor     INTEGER,                                 -- the least that available may be; NULL: no limit
    version   INTEGER NOT NULL CHECK (version >= 0),   -- counts the changes
    PRIMARY KEY (item_id, location),
    CHECK (on_hand = available + held + committed),
    CHECK (floor IS NULL OR available >= floor)
) STRICT, WITHOUT ROWID;

-- The ledger: on_hand is the sum of the movements.
CREATE TABLE movements (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    item_id    INTEGER NOT NULL,
    location   TEXT    NOT NULL,
    delta      INTEGER NOT NULL CHECK (delta <> 0),
    reason     TEXT    NOT NULL CHECK (reason IN ('received', 'returned', 'damaged', 'counted', 'sold')),
    reference  TEXT    NOT NULL,
    created_at INTEGER NOT NULL,                       -- milliseconds since 1970, UTC
    FOREIGN KEY (item_id, location) REFERENCES stock (item_id, location)
) STRICT;

CREATE INDEX movements_item ON movements (item_id, id);

-- Commands that came with a key, so that the same key has one effect.
CREATE TABLE commands (
    operation   TEXT    NOT NULL CHECK (operation IN ('adjust', 'import')),
    key         TEXT    NOT NULL,
    item_id     INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL,                      -- the parameters
    result      INTEGER NOT NULL,                      -- adjust: the movement's id; import: the quantity
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (operation, key)
) STRICT, WITHOUT ROWID;
