"""What the errors of MySQL and MariaDB mean."""

from __future__ import annotations

import ssl

import pymysql
from sqlalchemy.exc import DBAPIError
from workflow_core.errors import AdapterError, AdapterUnavailableError

__all__ = ["CONFLICT", "CONTENTION", "DUPLICATE", "ONLY_READS", "code_of", "translate"]

DUPLICATE = 1062
CONFLICT = 1020
# what others' locks do to a transaction: again from its start it may go well
CONTENTION = {
    1205: "a lock was not to be had in time",
    1213: "it was chosen to end a deadlock",
    3572: "a lock was not to be had at once",
    CONFLICT: "it conflicts with another transaction",
}
ONLY_READS = (1290, 1792, 1836)
_UNAVAILABLE = {
    1044: ("the server does not let this user in", "Look at the user and the password of the url"),
    1045: ("the server does not let this user in", "Look at the user and the password of the url"),
    1049: ("there is no such database", "Create it, or correct the url"),
    1054: ("the tables are not as they should be", "Look at the schema's version"),
    1146: ("the tables are not as they should be", "Look at the schema's version"),
    1114: ("the server has run out of room", "Make room; nothing was kept of it"),
    1021: ("the server has run out of room", "Make room; nothing was kept of it"),
    1040: ("the server has no connection left", "Lower pool_size, or raise max_connections"),
    1203: ("the server has no connection left", "Lower pool_size, or raise the user's limit"),
    **dict.fromkeys(
        ONLY_READS, ("the server only reads now", "See that the url leads to the primary")
    ),
    1317: ("the server ended it", "Ask whoever looks after the server"),
    1969: ("the statement took too long", "Look at the server's load"),
    3024: ("the statement took too long", "Look at the server's load"),
}
_REFUSED = {
    1153,  # a packet larger than the server takes
    1264,  # out of range
    1292,  # a wrong value
    1366,  # a wrong value
    1406,  # too long
    1301,  # a value larger than the server takes
    3140,  # no JSON
    3141,
    3155,
    DUPLICATE,
    1048,
}


def translate(error: BaseException, doing: str) -> AdapterError:
    """See `Dialect.translate`."""
    cause = _driver_error(error)
    code = code_of(cause)
    if code in CONTENTION:
        return AdapterUnavailableError(
            f"{doing} failed: {CONTENTION[code]}", adapter="sql", hint="Keep transactions short"
        )
    if code in _UNAVAILABLE:
        what, hint = _UNAVAILABLE[code]
        return AdapterUnavailableError(f"{doing} failed: {what}", adapter="sql", hint=hint)
    if code in _REFUSED or isinstance(
        cause, pymysql.DataError | pymysql.IntegrityError | OverflowError | UnicodeEncodeError
    ):
        return AdapterError.of("sql", cause, doing=doing)
    if isinstance(cause, pymysql.OperationalError | pymysql.InterfaceError | OSError):
        if isinstance(
            getattr(cause, "original_exception", cause), ssl.SSLError | FileNotFoundError
        ):
            return AdapterUnavailableError(
                f"{doing} failed: the server and this process do not agree on TLS",
                adapter="sql",
                hint="See that ssl_ca in the url is the file of who signed the server's"
                " certificate, and that it was made out to the url's host",
            )
        return AdapterUnavailableError(
            f"{doing} failed: no connection to the server, or it broke",
            adapter="sql",
            hint="See that the server runs and that the url leads to it",
        )
    return AdapterUnavailableError.of("sql", cause, doing=doing)


def code_of(error: BaseException) -> int | None:
    """The server's number for it; None: it is none of the server's."""
    cause = _driver_error(error)
    code = cause.args[0] if isinstance(cause, pymysql.MySQLError) and cause.args else None
    return code if isinstance(code, int) else None


def _driver_error(error: BaseException) -> BaseException:
    return error.orig or error if isinstance(error, DBAPIError) else error
