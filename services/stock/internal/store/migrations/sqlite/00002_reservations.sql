-- +goose Up
CREATE TABLE reservations (
    id          TEXT    NOT NULL PRIMARY KEY,          -- a UUIDv7: the newest stand together
    state       TEXT    NOT NULL CHECK (state IN ('HELD', 'COMMITTED', 'FULFILLED', 'RELEASED', 'EXPIRED')),
    reference   TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,                      -- milliseconds since 1970, UTC, as all times
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    key         TEXT,                                  -- of the command that made it; NULL: it had none
    fingerprint TEXT    NOT NULL,                      -- its parameters
    ttl         INTEGER NOT NULL                       -- as it was asked for, in milliseconds
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX reservations_key ON reservations (key) WHERE key IS NOT NULL;
CREATE INDEX reservations_expiring ON reservations (expires_at) WHERE state = 'HELD';
CREATE INDEX reservations_state ON reservations (state, id);
CREATE INDEX reservations_reference ON reservations (reference, id) WHERE reference <> '';

-- A line refers to stock, so that nothing is reserved of what nobody has ever received.
CREATE TABLE reservation_lines (
    reservation_id TEXT    NOT NULL REFERENCES reservations (id),
    line           INTEGER NOT NULL,                   -- from 0, in the caller's order
    item_id        INTEGER NOT NULL,
    location       TEXT    NOT NULL,
    quantity       INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000000000),
    PRIMARY KEY (reservation_id, line),
    FOREIGN KEY (item_id, location) REFERENCES stock (item_id, location)
) STRICT, WITHOUT ROWID;

CREATE INDEX reservation_lines_item ON reservation_lines (item_id, reservation_id);

-- Steps of reservations that came with a key.
CREATE TABLE reservation_steps (
    step           TEXT    NOT NULL CHECK (step IN ('commit', 'fulfil', 'release', 'extend')),
    key            TEXT    NOT NULL,
    fingerprint    TEXT    NOT NULL,
    reservation_id TEXT    NOT NULL REFERENCES reservations (id),
    expires_at     INTEGER NOT NULL,                   -- the answer: what it was after the step
    taken_at       INTEGER NOT NULL,
    PRIMARY KEY (step, key)
) STRICT, WITHOUT ROWID;
