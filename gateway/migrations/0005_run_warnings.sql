-- What is to be said of a run that goes on nevertheless: a JSON array of texts.
ALTER TABLE runs ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';
