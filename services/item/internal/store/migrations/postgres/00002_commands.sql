-- +goose Up

-- Commands that came with a key, so that the same key has one effect and one answer.
CREATE TABLE commands (
    command     text   NOT NULL PRIMARY KEY, -- operation and key
    fingerprint text   NOT NULL,             -- of the parameters
    answer      text   NOT NULL,             -- JSON: the item, up to a megabyte of it, and its stock
    created_at  bigint NOT NULL              -- milliseconds since 1970, UTC
);
CREATE INDEX commands_age ON commands (created_at);
