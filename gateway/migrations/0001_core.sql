-- Organisations, workers and their sessions, API keys. Times are Unix milliseconds.

CREATE TABLE organisations (
    slug TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- standard | professional | enterprise: endpoints one worker may carry.
    worker_licence TEXT NOT NULL
) STRICT;

CREATE TABLE projects (
    organisation TEXT NOT NULL REFERENCES organisations (slug),
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (organisation, slug)
) STRICT, WITHOUT ROWID;

-- One row: proves that the pepper file is the one the hashes of this database were made with.
CREATE TABLE pepper_check (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    mac BLOB NOT NULL
) STRICT;

CREATE TABLE workers (
    id TEXT NOT NULL PRIMARY KEY,
    organisation TEXT NOT NULL,
    project TEXT NOT NULL,
    -- The creator's own key; NULL for a worker made by a person.
    key TEXT,
    name TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    labels TEXT NOT NULL,
    -- HMAC-SHA256 of the token under the pepper; the token itself is nowhere.
    token_hash BLOB NOT NULL UNIQUE,
    -- Hash of the token before the last regeneration, to name the record whose old token is used.
    revoked_hash BLOB,
    disabled INTEGER NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- The last fence number given out; grows with every new fence.
    fence_seq INTEGER NOT NULL DEFAULT 0,
    -- The fence in force: NULL instance = none.
    fence_instance BLOB,
    fence_reason TEXT NOT NULL DEFAULT '',
    fence_deadline_ms INTEGER,
    refusal_reason TEXT,
    refusal_pod_uid TEXT NOT NULL DEFAULT '',
    refusal_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (organisation, key),
    FOREIGN KEY (organisation, project) REFERENCES projects (organisation, slug)
) STRICT;

CREATE INDEX workers_revoked ON workers (revoked_hash) WHERE revoked_hash IS NOT NULL;

-- The live or last session of each worker.
CREATE TABLE sessions (
    worker TEXT NOT NULL PRIMARY KEY REFERENCES workers (id) ON DELETE CASCADE,
    instance BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    connected INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    -- Capacity the process can bear; 0: no limit.
    capacity INTEGER NOT NULL,
    host TEXT NOT NULL,
    labels TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (slug),
    name TEXT NOT NULL,
    -- viewer | tester | editor | admin | owner
    role TEXT NOT NULL,
    key_hash BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL
) STRICT;
