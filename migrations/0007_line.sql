-- Why a workspace is awake, or what it waits for, in one line, so that a list asks no object. Rows of before have none
-- until their workspace next changes: then `because` stands for it.
ALTER TABLE workspaces ADD COLUMN line TEXT;
