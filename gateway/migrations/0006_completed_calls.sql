-- Answered, and over by a BYE that was received or answered 2xx. What was stored before is taken as
-- what a worker that does not tell it is: a success completed.
ALTER TABLE outcomes ADD COLUMN completed INTEGER NOT NULL DEFAULT 0;
UPDATE outcomes SET completed = 1 WHERE call > 0 AND outcome = 1;
