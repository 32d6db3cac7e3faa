-- One row for each machine: what it reserves from the moment at which it is asked for, and what it is billed. Amounts
-- are millionths of the provider's currency, tax included unless the name says otherwise; moments are milliseconds
-- since 1970. See worker/src/d1/money.rs.

CREATE TABLE machines (
  workspace          TEXT NOT NULL,
  generation         INTEGER NOT NULL,
  tenant             TEXT NOT NULL,
  reserved_at        INTEGER NOT NULL,
  reserved_micros    INTEGER NOT NULL,
  currency           TEXT NOT NULL,
  size               TEXT NOT NULL,
  location           TEXT NOT NULL,
  hourly_micros      INTEGER NOT NULL,
  hourly_net_micros  INTEGER NOT NULL,
  monthly_micros     INTEGER,
  monthly_net_micros INTEGER,
  started_at         INTEGER,
  ended_at           INTEGER,
  PRIMARY KEY (workspace, generation)
) STRICT, WITHOUT ROWID;

-- Sums look at what is open and at what ended in the period.
CREATE INDEX machines_by_end ON machines (tenant, ended_at);
