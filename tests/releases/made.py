"""Other releases of workflow-sql, made of this one's own source: for tests that need two at once.

There is no earlier release in the tree, and the next one is not written. What sets releases apart
on one database is their schema, and what of it their statements know. So both are made by a few
edits of a copy, which a process finds first on its path. An edit whose place has moved fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import workflow_sql
from workflow_sql.migrations import VERSION

Edits = Mapping[str, Mapping[str, str]]

NEXT_VERSION = f"{int(VERSION) + 1:04}"
MARK = "by the next release"
"""What the next release writes into each column that it has added."""

_SET_VERSION = f'VERSION = "{VERSION}"'

# All that a migration may do: a column in tables that are full, a table, an index. The name of the
# column is in the way of nobody, and no value is asked for.
_NEXT_MIGRATION = f'''
import sqlalchemy as sa
from workflow_sql.migrations.changes import Changes

revision = "{NEXT_VERSION}"
down_revision = "{VERSION}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    changes = Changes()
    kinds = changes.kinds
    for table in (
        "installation", "records", "outbox", "history", "search", "timers", "events", "consumers",
        "cursors", "receivers", "sessions", "roles",
    ):
        changes.column(table, sa.Column("later", kinds.name))
    changes.index("records_by_later", "records", "workflow", "later")
    changes.table("notes", sa.Column("id", kinds.id, primary_key=True))
'''

_NEXT: Edits = {
    "migrations/__init__.py": {_SET_VERSION: f'VERSION = "{NEXT_VERSION}"'},
    "schema.py": {
        '            Column("search", kinds.words),\n': (
            '            Column("search", kinds.words),\n            Column("later", kinds.name),\n'
        ),
        '            Column("repeats", BigInteger),\n': (
            '            Column("repeats", BigInteger),\n            Column("later", kinds.name),\n'
        ),
        '        *_required(kinds.instant, "created_at"),\n    ]': (
            '        *_required(kinds.instant, "created_at"),\n        Column("later", kinds.name),'
            "\n    ]"
        ),
    },
    "rows.py": {
        '    "search",\n)\n': '    "search",\n    "later",\n)\n',
        "        search,\n    ) = row\n": "        search,\n        _,\n    ) = row\n",
        '    "created_at",\n)\nEVENT =': '    "created_at",\n    "later",\n)\nEVENT =',
        "        now if created_at == UNSTAMPED else microseconds(created_at),\n": (
            "        now if created_at == UNSTAMPED else microseconds(created_at),\n"
            f'        "{MARK}",\n'
        ),
        "        headers,\n        created_at,\n    ) = row\n    return Event(": (
            "        headers,\n        created_at,\n        _,\n    ) = row\n    return Event("
        ),
        '    "repeats",\n)\n': '    "repeats",\n    "later",\n)\n',
        "        timeout.repeat,\n    )": f'        timeout.repeat,\n        "{MARK}",\n    )',
        "        _,\n        repeats,\n    ) = row\n": (
            "        _,\n        repeats,\n        _,\n    ) = row\n"
        ),
    },
    "records/written.py": {
        "        search_text(write.search),\n        _live(record),\n": (
            f'        search_text(write.search),\n        "{MARK}",\n        _live(record),\n'
        ),
    },
}

# What the newest schema brought, taken away again. A new schema brings edits of its own.
_BEFORE_VERSION = "0002"
_BEFORE: Edits = {
    "migrations/__init__.py": {'VERSION = "0003"': f'VERSION = "{_BEFORE_VERSION}"'},
    "schema.py": {'            Column("repeats", BigInteger),\n': ""},
    "rows.py": {
        '    "closed",\n    "repeats",\n)\n': '    "closed",\n)\n',
        "        timeout.repeat,\n": "",
        "        _,\n        repeats,\n    ) = row\n": "        _,\n    ) = row\n",
        "        repeat=repeats or 0,  # null: a release before has armed it\n": "",
    },
    "timeouts.py": {
        '            ("due_at", "attempts", "error", "repeats"),\n': (
            '            ("due_at", "attempts", "error"),\n'
        ),
        '            rising="repeats",\n': "",
        "self._put_off([(delay, attempts, error, repeat, key)])": (
            "self._put_off([(delay, attempts, error, key)])"
        ),
        "[(t.delay, t.attempts, t.error, t.repeat, t.key) for t in timeouts]": (
            "[(t.delay, t.attempts, t.error, t.key) for t in timeouts]"
        ),
    },
}


def next_release(folder: Path) -> Path:
    """Where it lies. It writes `MARK` into what it has added to records, events and timers."""
    package = _copy(folder, _NEXT)
    migration = package / "migrations" / "versions" / f"v{NEXT_VERSION}_next.py"
    migration.write_text(_NEXT_MIGRATION)
    return folder


def release_before(folder: Path) -> Path:
    """Where it lies. It knows nothing of what the newest schema brought."""
    assert int(_BEFORE_VERSION) + 1 == int(VERSION), "tell here what the newest schema brought"
    package = _copy(folder, _BEFORE)
    for migration in (package / "migrations" / "versions").glob(f"v{VERSION}_*.py"):
        migration.unlink()
    return folder


def _copy(folder: Path, edits: Edits) -> Path:
    package = folder / "workflow_sql"
    source = Path(workflow_sql.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in edits.items():
        text = (package / name).read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, f"{name} has changed: {old!r}"
            text = text.replace(old, new)
        (package / name).write_text(text)
    return package
