"""The column types of MySQL and MariaDB, which differ in the name of a collation."""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlalchemy.dialects.mysql import LONGBLOB, MEDIUMTEXT, VARCHAR

from workflow_sql.schema import Kinds

__all__ = ["kinds_with"]


def kinds_with(collation: str) -> Kinds:
    """Texts compare by this collation."""

    def text(length: int) -> VARCHAR:
        return VARCHAR(length, charset="utf8mb4", collation=collation)

    return Kinds(
        instant=BigInteger(),
        id=text(64),
        name=text(255),
        label=text(350),
        words=MEDIUMTEXT(charset="utf8mb4", collation=collation),
        data=LONGBLOB(),
        options={
            f"{server}_{option}": value
            for server in ("mysql", "mariadb")
            for option, value in (
                ("engine", "InnoDB"),
                ("row_format", "DYNAMIC"),
                ("default_charset", "utf8mb4"),
                ("collate", collation),
            )
        },
        busy_options={},
        partial_indexes=False,
        ended_stored=False,
    )
