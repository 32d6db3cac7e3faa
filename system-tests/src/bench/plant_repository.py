"""Fills a workspace's repository behind the control plane's back: plant_repository.py STATE WORKSPACE PACKS INDEXES SNAPSHOTS.

Packs, indexes and snapshots get rows where storage and the workspace's object keep theirs, so that their sizes and names are
those of a repository of that size; there are no bytes behind them. Snapshots stand as verified, the first of them as the one
that is there already, each with a set of the indexes until then. Says the packs' names, one a line. The Worker must be down."""

import hashlib
import json
import pathlib
import sqlite3
import sys

state, workspace = pathlib.Path(sys.argv[1]), sys.argv[2]
packs, indexes, snapshots = map(int, sys.argv[3:])
PACK, INDEX, SNAPSHOT = 8 << 20, 1_200_000, 400


def named(kind, count):
    return [hashlib.sha256(f"{kind} {number}".encode()).hexdigest() for number in range(count)]


def tables(database):
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def store(database, prefix, names, size):
    sql = "INSERT OR REPLACE INTO _mf_objects VALUES (?, NULL, ?, ?, ?, ?, ?, '{}', ?)"
    marks = json.dumps({"g": "1"})
    # Storage keeps the checksum that a pack was sent with.
    rows = ((prefix + name, name[:32], size, name[:32], 1_790_000_000_000, json.dumps({"sha256": name}), marks) for name in names)
    database.executemany(sql, rows)


def enter(database, kind, names, size):
    sql = "INSERT OR IGNORE INTO ledger (kind, name, size, generation, at_ms, shared) VALUES (?, ?, ?, 1, 1790000000000, 0)"
    database.executemany(sql, ((kind, name, size) for name in names))


def fill_object(database):
    (text,) = database.execute("SELECT json FROM record").fetchone()
    record = json.loads(text)
    enter(database, "index", named("index", indexes), INDEX)
    names = named("snapshot", snapshots)
    enter(database, "snapshots", names, SNAPSHOT)
    places = [place for (place,) in database.execute("SELECT id FROM ledger WHERE kind = 'index' ORDER BY id")]
    for number, name in enumerate(names):
        until = places[: max(1, len(places) * (number + 1) // snapshots)]
        database.execute("INSERT OR REPLACE INTO sets VALUES (?, ?)", (name, json.dumps(until, separators=(",", ":"))))
    pattern = record["snapshots"][-1]
    record["snapshots"] = [{**pattern, "snapshot": name} for name in reversed(names)] + [pattern]
    database.execute("UPDATE record SET json = ?", (json.dumps(record, separators=(",", ":")),))


filled = 0
for path in state.glob("v3/*/*/*.sqlite"):
    database = sqlite3.connect(path)
    there = tables(database)
    if "_mf_objects" in there:
        prefix = f"workspaces/owner/{workspace}/restic"
        store(database, f"{prefix}/data/", named("data", packs), PACK)
        store(database, f"{prefix}/index/", named("index", indexes), INDEX)
        store(database, f"{prefix}/snapshots/", named("snapshot", snapshots), SNAPSHOT)
        filled += 1
    elif "record" in there and database.execute("SELECT json_extract(json, '$.id') FROM record").fetchone() == (workspace,):
        fill_object(database)
        filled += 1
    database.commit()
    database.close()
if filled != 2:
    sys.exit(f"filled {filled} databases instead of a bucket and an object")
print("\n".join(named("data", packs)))
