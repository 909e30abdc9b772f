-- What a run needs to go on after a restart of the gateway.

-- waiting | callees | callers | started | stopping | over
ALTER TABLE runs ADD COLUMN stage TEXT NOT NULL DEFAULT 'waiting';
-- Accounts given with the definition, sealed; NULL: none.
ALTER TABLE runs ADD COLUMN accounts BLOB;
-- Why it ends FAILED; why it was told to stop.
ALTER TABLE runs ADD COLUMN failed TEXT;
ALTER TABLE runs ADD COLUMN stopped TEXT;

ALTER TABLE shares ADD COLUMN worker_name TEXT NOT NULL DEFAULT '';

-- Numbered messages between the gateway and the workers of a run.
CREATE TABLE links (
    run INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    worker TEXT NOT NULL,
    instance BLOB NOT NULL,
    -- Number of the next message to the worker.
    next_seq INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    lost_ms INTEGER,
    -- Messages the worker has not confirmed, sealed.
    messages BLOB NOT NULL,
    PRIMARY KEY (run, worker)
) STRICT, WITHOUT ROWID;

-- State of each endpoint that told any; its end is its outcome of call 0.
CREATE TABLE endpoints (
    run INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    grp TEXT NOT NULL,
    endpoint INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    call INTEGER NOT NULL,
    -- NULL: not ready yet.
    contact TEXT,
    aor TEXT,
    PRIMARY KEY (run, grp, endpoint)
) STRICT, WITHOUT ROWID;
