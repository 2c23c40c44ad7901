-- +goose Up
CREATE TABLE items (
    id             bigint  PRIMARY KEY,
    sku            text    NOT NULL,
    title          text    NOT NULL,
    description    text    NOT NULL,
    handle         text    NOT NULL, -- '' belongs to no product
    options        text    NOT NULL, -- JSON: [{"name":…,"value":…}], in order
    variant        text    NOT NULL, -- JSON: the option values; with the handle, the identity
    vendor         text    NOT NULL,
    type           text    NOT NULL,
    tags           text    NOT NULL, -- JSON: […]
    price_amount   bigint,           -- in the currency's minor unit
    price_currency text,
    images         text    NOT NULL, -- JSON: […]
    status         text    NOT NULL CHECK (status IN ('draft', 'active', 'archived')),
    version        bigint  NOT NULL CHECK (version > 0),
    created_at     bigint  NOT NULL, -- milliseconds since 1970, UTC
    updated_at     bigint  NOT NULL,
    CHECK ((price_amount IS NULL) = (price_currency IS NULL)),
    EXCLUDE USING hash (sku WITH =)  -- unique; a tree takes keys of 2.7 kB at most
);

CREATE UNIQUE INDEX items_variant ON items (handle, hashtextextended(variant, 0)) WHERE handle <> '';

-- The highest id that was deleted: none is used twice.
CREATE TABLE last_deleted (id bigint NOT NULL);
INSERT INTO last_deleted VALUES (0);

-- +goose StatementBegin
CREATE FUNCTION keep_last_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE last_deleted SET id = old.id WHERE id < old.id;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER items_last_deleted AFTER DELETE ON items FOR EACH ROW EXECUTE FUNCTION keep_last_deleted();

-- The words of the items, with their places, as the program cuts them.
CREATE TABLE words (
    item_id       bigint   PRIMARY KEY REFERENCES items (id) ON DELETE CASCADE,
    search_title  tsvector NOT NULL,
    search_labels tsvector NOT NULL, -- title, vendor, type, tags
    search_all    tsvector NOT NULL  -- these and the description
);
-- Without pending lists: a search would read them from the beginning to the end.
CREATE INDEX words_title ON words USING gin (search_title) WITH (fastupdate = off);
CREATE INDEX words_labels ON words USING gin (search_labels) WITH (fastupdate = off);
CREATE INDEX words_all ON words USING gin (search_all) WITH (fastupdate = off);
