-- Which stored secrets a workspace gets: a JSON list of their names, never a value. NULL: those that are marked everywhere.
ALTER TABLE workspaces ADD COLUMN secrets TEXT;
