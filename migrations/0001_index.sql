-- The index: see worker/src/d1.rs. Moments are milliseconds since 1970. Rows written are what the plan counts, so
-- there is no index that a list does not need.

CREATE TABLE workspaces (
  id            TEXT PRIMARY KEY,
  tenant        TEXT NOT NULL,
  name          TEXT NOT NULL,
  state         TEXT NOT NULL,
  because       TEXT NOT NULL,
  repo          TEXT,
  size          TEXT NOT NULL,
  location      TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  since         INTEGER NOT NULL,
  next_deadline INTEGER,
  generation    INTEGER NOT NULL,
  server_id     INTEGER
) STRICT, WITHOUT ROWID;

-- Neither column ever changes: written once a workspace.
CREATE INDEX workspaces_by_tenant ON workspaces (tenant, created_at, id);

CREATE TABLE api_keys (
  id           TEXT PRIMARY KEY,
  tenant       TEXT NOT NULL,
  label        TEXT NOT NULL,
  digest       TEXT NOT NULL,
  scopes       TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
  tenant     TEXT NOT NULL,
  key        TEXT NOT NULL,
  digest     TEXT NOT NULL,
  subject    TEXT NOT NULL,
  status     INTEGER,
  answer     TEXT,
  claimed_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  seq     INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  tenant  TEXT NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,
  address TEXT NOT NULL
) STRICT;
