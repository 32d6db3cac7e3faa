-- What is only measured: see worker/src/d1/figures.rs. Each is written with a row that is written anyway, but for
-- one row a run of the cron.

ALTER TABLE workspaces ADD COLUMN backup_at INTEGER;
ALTER TABLE workspaces ADD COLUMN rescue_image INTEGER;

-- When something that has to happen by itself last happened.
CREATE TABLE pulse (
  name TEXT PRIMARY KEY,
  at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
