"""MySQL 5.7 or newer and MariaDB 10.2 or newer, through PyMySQL."""

from __future__ import annotations

import math

import pymysql
from sqlalchemy import URL, Connection, Engine, create_engine, event
from workflow_core.errors import ConfigurationError

from workflow_reflex.settings import ReflexSettings
from workflow_reflex.tables import Tables
from workflow_reflex.ways.base import AT_ONCE, GRACE, Ways

__all__ = ["MysqlWays"]

_LONGEST_LIFE = 1_800  # seconds; so that all processes find a new server behind an old name
_REFUSED = {
    1048,  # null where there must be none
    1153,  # a packet larger than the server takes
    1264,  # out of range
    1292,  # a wrong value
    1301,  # a value larger than the server takes
    1364,  # a column that must have a value
    1366,  # a wrong value
    1406,  # too long
}


class MysqlWays(Ways):
    """See `Ways`. One for both, as Reflex has it."""

    title = "MySQL"
    mark = "%s"
    now = "utc_timestamp(6)"
    collation = "utf8mb4_bin"
    in_file = False
    leaves_holes = True
    contention = frozenset({1020, 1205, 1213, 3572})
    missing = frozenset({1049, 1054, 1146})
    denied = frozenset({1044, 1045, 1142, 1143, 1227})
    duplicate = frozenset({1062})

    def engine(self, url: URL, settings: ReflexSettings) -> Engine:  # noqa: D102 - see Ways
        name = url.get_backend_name()
        if url.drivername not in (name, f"{name}+pymysql"):
            raise ConfigurationError(
                f"the url names the driver {url.get_driver_name()!r}, known is pymysql",
                adapter="reflex",
                hint=f"Write it like {name}://user:password@host/database",
            )
        answer = settings.statement_timeout.total_seconds() + GRACE
        usual: dict[str, object] = {
            "charset": "utf8mb4",
            "connect_timeout": 10,
            "read_timeout": answer,
            "write_timeout": answer,
        }
        engine = create_engine(
            url.set(drivername=f"{name}+pymysql"),
            isolation_level="AUTOCOMMIT",  # transactions are begun by hand
            pool_reset_on_return=None,
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.lock_timeout.total_seconds(),
            pool_pre_ping=True,
            pool_recycle=_LONGEST_LIFE,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={name: value for name, value in usual.items() if name not in url.query},
        )
        session = (
            "set session time_zone = '+00:00',"
            # what does not fit is an error, and never cut to fit
            " sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
            # ids follow one another: what is left out has to be filled
            " auto_increment_increment = 1,"
            f" innodb_lock_wait_timeout = {math.ceil(settings.lock_timeout.total_seconds())}"
        )
        # one transaction sees what others have committed meanwhile, and locks no gaps
        committed = "set session transaction isolation level read committed"

        @event.listens_for(engine, "connect")
        def prepare(driver: pymysql.connections.Connection, _: object) -> None:
            with driver.cursor() as cursor:
                cursor.execute(session)
                cursor.execute(committed)

        return engine

    def begin(self, connection: Connection) -> None:  # noqa: D102
        connection.exec_driver_sql("start transaction")

    def code(self, error: BaseException) -> object:  # noqa: D102
        return error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else None

    def is_refusal(self, error: BaseException) -> bool:  # noqa: D102
        return self.code(error) in _REFUSED or isinstance(
            error, pymysql.DataError | pymysql.IntegrityError | UnicodeEncodeError
        )

    def describe(self, connection: Connection) -> str:  # noqa: D102
        version = str(connection.exec_driver_sql("select version()").scalar_one())
        title = "MariaDB" if "MariaDB" in version else "MySQL"
        return f"{title} {version.split('-')[0]}"

    def fill(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:
        """Where an id has come in between, the insert waits for who holds it."""
        if self.is_held(connection, tables, first, last):
            return False
        for start in range(first, last + 1, AT_ONCE):
            rows = self.noops(range(start, min(start + AT_ONCE, last + 1)))
            connection.exec_driver_sql(
                f"insert into {tables.events}"
                f" ({tables.id}, {tables.foreign_id}, {tables.type}, {tables.timestamp}) values "
                + ", ".join([f"(%s, %s, %s, {self.now})"] * len(rows))
                + f" on duplicate key update {tables.id} = {tables.events}.{tables.id}",
                tuple(value for row in rows for value in row),
            )
        return True

    def is_held(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:
        """Rows of open transactions are seen by one that reads what is not committed."""
        question = f"select 1 from {tables.events} where {tables.id} between %s and %s limit 1"
        with connection.engine.connect() as uncommitted:
            uncommitted = uncommitted.execution_options(isolation_level="READ UNCOMMITTED")
            return uncommitted.exec_driver_sql(question, (first, last)).first() is not None

    def upsert(self, tables: Tables, rows: int, now: str) -> str:  # noqa: D102
        return (
            f"insert into {tables.cursors} (id, last_event_id, updated_at) values "
            + ", ".join([f"(%s, %s, {now})"] * rows)
            + " on duplicate key update"
            # in this order: what is assigned first is seen by the next
            " updated_at = if(values(last_event_id) > last_event_id, values(updated_at),"
            " updated_at), last_event_id = greatest(last_event_id, values(last_event_id))"
        )
