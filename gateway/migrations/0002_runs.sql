-- Runs, where they were placed, and what was measured. Times are Unix milliseconds.

CREATE TABLE pools (
    organisation TEXT NOT NULL REFERENCES organisations (slug),
    key TEXT NOT NULL,
    project TEXT NOT NULL,
    region TEXT NOT NULL,
    labels TEXT NOT NULL,
    endpoints_per_worker INTEGER NOT NULL,
    max_workers INTEGER NOT NULL,
    live_workers INTEGER NOT NULL,
    renewed_ms INTEGER NOT NULL,
    PRIMARY KEY (organisation, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    -- Short number for the rows of samples.
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    organisation TEXT NOT NULL,
    project TEXT NOT NULL,
    -- The submitter's own key; NULL: none.
    key TEXT,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    started_ms INTEGER,
    ended_ms INTEGER,
    -- JSON array; empty: not partial.
    partial_reasons TEXT NOT NULL DEFAULT '[]',
    -- JSON of the report once the run is over.
    summary TEXT,
    verdict TEXT NOT NULL DEFAULT '',
    UNIQUE (organisation, key),
    FOREIGN KEY (organisation, project) REFERENCES projects (organisation, slug)
) STRICT;

CREATE INDEX runs_by_age ON runs (organisation, project, created_ms);

-- Shares of groups placed on workers.
CREATE TABLE shares (
    run INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    worker TEXT NOT NULL,
    grp TEXT NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (run, worker, grp, first)
) STRICT, WITHOUT ROWID;

-- What became of each call of each endpoint; call 0: the endpoint itself.
CREATE TABLE outcomes (
    run INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    grp TEXT NOT NULL,
    endpoint INTEGER NOT NULL,
    call INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    sip_status INTEGER NOT NULL,
    detail TEXT NOT NULL,
    outgoing INTEGER NOT NULL,
    PRIMARY KEY (run, grp, endpoint, call)
) STRICT, WITHOUT ROWID;

-- Highest sequence number of each worker's messages that is applied; makes applying idempotent.
CREATE TABLE applied (
    run INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    worker TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run, worker)
) STRICT, WITHOUT ROWID;

CREATE TABLE samples (
    run INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    worker TEXT NOT NULL,
    grp TEXT NOT NULL,
    endpoint INTEGER NOT NULL,
    second INTEGER NOT NULL,
    call INTEGER NOT NULL,
    direction INTEGER NOT NULL,
    per_call INTEGER NOT NULL,
    -- 1: generator limited, 2: delay inputs partial.
    flags INTEGER NOT NULL,
    -- (metric u32, value f64), little endian, repeated.
    metrics BLOB NOT NULL
) STRICT;

CREATE INDEX samples_by_run ON samples (run, grp, endpoint);
