"""Changes the stored record of one workspace: change_record.py STATE WORKSPACE EXPRESSION, where the expression is SQL
over the column `json`, or LOST for all that its object holds. The Worker must be down."""

import pathlib
import sqlite3
import sys

state, workspace, expression = sys.argv[1:]
WHERE = "WHERE json_extract(json, '$.id') = ?"
changed = 0
for path in pathlib.Path(state).glob("v3/do/*/*.sqlite"):
    database = sqlite3.connect(path)
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if "record" not in tables:
        pass
    elif expression != "LOST":
        changed += database.execute(f"UPDATE record SET json = {expression} {WHERE}", (workspace,)).rowcount
    elif database.execute(f"SELECT 1 FROM record {WHERE}", (workspace,)).fetchone():
        changed += 1
        for table in tables:
            if not table.startswith("sqlite_") and not table.startswith("_cf_"):
                database.execute(f'DROP TABLE "{table}"')
    database.commit()
    database.close()
sys.exit(None if changed == 1 else f"{changed} records")
