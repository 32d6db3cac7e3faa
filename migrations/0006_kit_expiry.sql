-- A restore kit outlives its need unless its key ends by itself. Keys that were made before do not.
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
