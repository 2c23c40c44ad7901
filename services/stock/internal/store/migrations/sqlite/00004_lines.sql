-- +goose Up
-- Lines are part of their reservation's row, so that what a batch reserves has
-- few indexes to be entered in; to count them, a view has them one by one.
ALTER TABLE reservations ADD COLUMN lines TEXT NOT NULL DEFAULT '[]';              -- JSON, in the caller's order; they never change
UPDATE reservations SET lines = (
    SELECT json_group_array(json_object('ItemID', item_id, 'Quantity', quantity, 'Location', location))
    FROM (SELECT * FROM reservation_lines WHERE reservation_id = reservations.id ORDER BY line)
);

-- The reservations of an item.
CREATE TABLE reservation_items (
    item_id        INTEGER NOT NULL,
    reservation_id TEXT    NOT NULL,
    PRIMARY KEY (item_id, reservation_id)
) STRICT, WITHOUT ROWID;
INSERT INTO reservation_items SELECT DISTINCT item_id, reservation_id FROM reservation_lines;

DROP TABLE reservation_lines;
CREATE VIEW reservation_lines AS
SELECT reservations.id AS reservation_id, state, value->>'ItemID' AS item_id, value->>'Location' AS location, value->>'Quantity' AS quantity
FROM reservations, json_each(lines);
