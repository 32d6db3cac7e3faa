-- Since when it is known that the object of a workspace holds no record of it. The object takes it back with its next row.
ALTER TABLE workspaces ADD COLUMN lost_at INTEGER;
