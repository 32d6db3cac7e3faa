"""Changes the stored record of one workspace: change_record.py STATE WORKSPACE EXPRESSION, where the expression is SQL
over the column `json`. The Worker must be down."""

import pathlib
import sqlite3
import sys

state, workspace, expression = sys.argv[1:]
changed = 0
for path in pathlib.Path(state).glob("v3/do/*/*.sqlite"):
    database = sqlite3.connect(path)
    has_record = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'record'").fetchone()
    if has_record:
        update = f"UPDATE record SET json = {expression} WHERE json_extract(json, '$.id') = ?"
        changed += database.execute(update, (workspace,)).rowcount
        database.commit()
    database.close()
sys.exit(None if changed == 1 else f"{changed} records")
