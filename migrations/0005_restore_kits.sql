-- A key that a restore kit carries reads the backups of one workspace and nothing else: it has no scope.
ALTER TABLE api_keys ADD COLUMN repository TEXT;
