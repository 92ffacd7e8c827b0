"""``python -m workflow_sql``: make, upgrade and look at the tables.

The database is told by --url or, so that no password stands on a command line, by the environment:
WORKFLOW_SQL__URL.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from workflow_core.errors import ConfigurationError, WorkflowError
from workflow_core.ports import Secret

from workflow_sql.migrations import current, sql, upgrade

__all__ = ["main"]

_URL = "WORKFLOW_SQL__URL"
_NAMESPACE = "WORKFLOW_NAMESPACE"
_SCHEMA = "WORKFLOW_SQL__SCHEMA"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says; answers the exit code.

    0: done, and with ``current`` also: nothing is to be done. 1: this release cannot serve the
    schema that is there; it is to be upgraded, or is too new, as told. 2: it could not be done, as
    told on standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        url = _url(options.url)
        namespace = options.namespace or os.environ.get(_NAMESPACE, "")
        schema = options.schema or os.environ.get(_SCHEMA, "")
        if options.command == "sql":
            sys.stdout.write(sql(url, namespace=namespace, schema=schema, start=options.start))
            return 0
        if options.command == "upgrade":
            upgrade(url, namespace=namespace, schema=schema)
        state = current(url, namespace=namespace, schema=schema)
    except WorkflowError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{state}\n")
    return 1 if state.is_old or state.is_too_new else 0


def _url(told: str) -> Secret:
    url = told or os.environ.get(_URL, "")
    if not url:
        raise ConfigurationError(
            "no database is named", adapter="sql", hint=f"Give --url, or set {_URL}"
        )
    return Secret(url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workflow_sql", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("upgrade", "make the tables, or bring them to this release's schema"),
        ("current", "tell which schema is there; exit code 1 where this release cannot serve it"),
        ("sql", "print what upgrade would execute, and connect to nothing"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--url", default="", help=f"as SQLAlchemy writes it; else {_URL}")
        command.add_argument(
            "--namespace", default="", help=f"of the tables' names; else {_NAMESPACE}"
        )
        command.add_argument("--schema", default="", help=f"that the tables are in; else {_SCHEMA}")
        if name == "sql":
            command.add_argument(
                "--from", dest="start", metavar="SCHEMA", help="what is there, such as 0001"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
