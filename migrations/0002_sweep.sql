-- What the sweep remembers between runs: one row. See control/src/sweep/state.rs for `state`, worker/src/d1/sweep.rs
-- for the rest. Losing it costs a round from the beginning, and the mode that was asked for.

CREATE TABLE sweep (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  mode        TEXT NOT NULL,
  state       TEXT NOT NULL,
  lease       TEXT,
  lease_until INTEGER NOT NULL
) STRICT;
