"""A process's connections to PostgreSQL, which tell and hear of commits."""

from __future__ import annotations

from datetime import timedelta

from workflow_sql.dialects.postgres_line import PostgresLine
from workflow_sql.dialects.postgres_news import PostgresNews
from workflow_sql.dialects.server_connections import ServerConnections

__all__ = ["PostgresConnections"]


class PostgresConnections(ServerConnections):
    """As `ServerConnections`, with two more connections where news is told and waited for."""

    def __init__(self, line: PostgresLine, *, size: int, patience: timedelta, channel: str) -> None:
        super().__init__(line, size=size, patience=patience)
        self.news = PostgresNews(channel, connect=line.connect, heard=self._heard)

    @property
    def rhythm(self) -> tuple[float, float]:
        """Where news is heard, to look besides is a mere precaution."""
        return (30.0, 30.0) if self.news.is_heard else super().rhythm

    @property
    def remark(self) -> str:
        """Whether a pooler hides notifications."""
        hidden = ", looking for news since a pooler hides notifications"
        return hidden if self.news.is_deaf else ""

    def attend(self) -> None:
        """Listen."""
        self.news.listen()

    def tell(self) -> None:
        """Notify, soon."""
        self.news.tell()

    def _epoch_began(self) -> None:
        self.news.move()
        super()._epoch_began()

    def _heard(self) -> None:
        self.beat()
        self.on_news()

    def forsake(self) -> None:
        """In a forked child: listen anew, when somebody waits there."""
        super().forsake()
        self.news.restart()

    def close(self) -> None:
        """Also end the threads."""
        self.news.close()
        super().close()
