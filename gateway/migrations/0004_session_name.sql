-- The name a process gave itself (WORKER_NAME); empty: the record's holds.
ALTER TABLE sessions ADD COLUMN name TEXT NOT NULL DEFAULT '';
