-- +goose Up
ALTER TABLE items ADD COLUMN backorder_limit INTEGER CHECK (backorder_limit >= 0);   -- NULL: there is none
ALTER TABLE items ADD COLUMN default_location TEXT NOT NULL DEFAULT 'main';
ALTER TABLE items ADD COLUMN low_stock INTEGER CHECK (low_stock >= 0);               -- below it the item is low on stock
CREATE INDEX items_low_stock ON items (item_id) WHERE low_stock IS NOT NULL;

ALTER TABLE movements ADD COLUMN actor TEXT NOT NULL DEFAULT '';                     -- who caused it
ALTER TABLE movements ADD COLUMN reservation_id TEXT;                                -- of the one that was fulfilled
UPDATE movements SET reservation_id = reference
WHERE reason = 'sold' AND EXISTS (SELECT 1 FROM reservations WHERE reservations.id = movements.reference);

-- Lines of product files that came, so that they receive once. They are never forgotten.
CREATE TABLE imports (
    key      TEXT    NOT NULL PRIMARY KEY,
    item_id  INTEGER NOT NULL,
    quantity INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO imports SELECT key, item_id, result FROM commands WHERE operation = 'import';

-- Commands that came, so that the same key has one effect and one answer. What
-- reserves is remembered by the reservation itself.
DROP TABLE commands;
DROP TABLE reservation_steps;
CREATE TABLE commands (
    command     TEXT    NOT NULL PRIMARY KEY,                                        -- operation and key
    fingerprint TEXT    NOT NULL,                                                    -- the parameters
    answer      TEXT    NOT NULL,                                                    -- JSON
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX commands_age ON commands (created_at);

-- Only what is open is looked for by its state.
DROP INDEX reservations_state;
CREATE INDEX reservations_committed ON reservations (id) WHERE state = 'COMMITTED';

-- Units of fulfilled reservations that are forgotten: with those that are not,
-- they are the movements that reservations caused.
CREATE TABLE checkpoints (
    day       TEXT    NOT NULL,                                                      -- on which they were forgotten
    item_id   INTEGER NOT NULL,
    location  TEXT    NOT NULL,
    fulfilled INTEGER NOT NULL,
    PRIMARY KEY (day, item_id, location)
) STRICT, WITHOUT ROWID;
