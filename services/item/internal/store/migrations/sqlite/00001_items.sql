-- +goose Up
CREATE TABLE items (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, also after a deletion
    sku            TEXT    NOT NULL UNIQUE,
    title          TEXT    NOT NULL,
    description    TEXT    NOT NULL,
    handle         TEXT    NOT NULL,                  -- '' belongs to no product
    options        TEXT    NOT NULL,                  -- JSON: [{"name":…,"value":…}], in order
    variant        TEXT    NOT NULL,                  -- JSON: the option values; with the handle, the identity
    vendor         TEXT    NOT NULL,
    type           TEXT    NOT NULL,
    tags           TEXT    NOT NULL,                  -- JSON: […]
    price_amount   INTEGER,                           -- in the currency's minor unit
    price_currency TEXT,
    images         TEXT    NOT NULL,                  -- JSON: […]
    status         TEXT    NOT NULL CHECK (status IN ('draft', 'active', 'archived')),
    version        INTEGER NOT NULL CHECK (version > 0),
    created_at     INTEGER NOT NULL,                  -- milliseconds since 1970, UTC
    updated_at     INTEGER NOT NULL,
    CHECK ((price_amount IS NULL) = (price_currency IS NULL))
) STRICT;

CREATE UNIQUE INDEX items_variant ON items (handle, variant) WHERE handle <> '';

-- Three indexes, so that a search for the best places reads nothing of the others.
CREATE VIRTUAL TABLE search_title USING fts5 (
    title,
    content = 'items', content_rowid = 'id', prefix = '2 3 4', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE search_labels USING fts5 (
    title, vendor, type, tags,
    content = 'items', content_rowid = 'id', prefix = '2 3 4', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE search_all USING fts5 (
    title, description, vendor, type, tags,
    content = 'items', content_rowid = 'id', prefix = '2 3 4', tokenize = 'unicode61 remove_diacritics 2'
);

-- +goose StatementBegin
CREATE TRIGGER items_search_insert AFTER INSERT ON items BEGIN
    INSERT INTO search_title (rowid, title) VALUES (new.id, new.title);
    INSERT INTO search_labels (rowid, title, vendor, type, tags) VALUES (new.id, new.title, new.vendor, new.type, new.tags);
    INSERT INTO search_all (rowid, title, description, vendor, type, tags)
    VALUES (new.id, new.title, new.description, new.vendor, new.type, new.tags);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER items_search_delete AFTER DELETE ON items BEGIN
    INSERT INTO search_title (search_title, rowid, title) VALUES ('delete', old.id, old.title);
    INSERT INTO search_labels (search_labels, rowid, title, vendor, type, tags)
    VALUES ('delete', old.id, old.title, old.vendor, old.type, old.tags);
    INSERT INTO search_all (search_all, rowid, title, description, vendor, type, tags)
    VALUES ('delete', old.id, old.title, old.description, old.vendor, old.type, old.tags);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER items_search_update AFTER UPDATE ON items
WHEN (old.title, old.description, old.vendor, old.type, old.tags) IS NOT (new.title, new.description, new.vendor, new.type, new.tags)
BEGIN
    INSERT INTO search_title (search_title, rowid, title) VALUES ('delete', old.id, old.title);
    INSERT INTO search_labels (search_labels, rowid, title, vendor, type, tags)
    VALUES ('delete', old.id, old.title, old.vendor, old.type, old.tags);
    INSERT INTO search_all (search_all, rowid, title, description, vendor, type, tags)
    VALUES ('delete', old.id, old.title, old.description, old.vendor, old.type, old.tags);
    INSERT INTO search_title (rowid, title) VALUES (new.id, new.title);
    INSERT INTO search_labels (rowid, title, vendor, type, tags) VALUES (new.id, new.title, new.vendor, new.type, new.tags);
    INSERT INTO search_all (rowid, title, description, vendor, type, tags)
    VALUES (new.id, new.title, new.description, new.vendor, new.type, new.tags);
END;
-- +goose StatementEnd
