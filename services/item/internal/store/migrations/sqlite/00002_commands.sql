-- +goose Up

-- Commands that came with a key, so that the same key has one effect and one answer.
CREATE TABLE commands (
    command     TEXT    NOT NULL PRIMARY KEY, -- operation and key
    fingerprint TEXT    NOT NULL,             -- of the parameters
    answer      TEXT    NOT NULL,             -- JSON: the item, up to a megabyte of it, and its stock
    created_at  INTEGER NOT NULL              -- milliseconds since 1970, UTC
) STRICT;
CREATE INDEX commands_age ON commands (created_at);
