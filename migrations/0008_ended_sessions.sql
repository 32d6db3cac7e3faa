-- Sessions of the dashboard that were signed out of, until they would have ended by themselves: a copied cookie opens nothing
-- any more. Only a digest of the session is kept.
CREATE TABLE ended_sessions (
    session TEXT PRIMARY KEY,
    until INTEGER NOT NULL
);
