"""A server that stands still: connections stay open, all arrives, and nothing is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url
from workflow_adaptertest.servers import Server
from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import Write
from workflow_sql import Database, SqlRecordStore
from workflow_sql.dialects import mysql_line, postgres_line

SECOND = timedelta(seconds=1)
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def _without_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (postgres_line, mysql_line):
        monkeypatch.setattr(line, "ANSWER_GRACE", 1.0)


def told_after(call: Callable[[], object]) -> float:
    """Seconds until it says that there is no answer."""
    begin = time.monotonic()
    with pytest.raises(AdapterUnavailableError):
        call()
    return time.monotonic() - begin


class Still:
    """A server that can be brought to a stand, and a url that is affected by it."""

    def __init__(self, url: str, stop: Callable[[], object], go_on: Callable[[], object]) -> None:
        self.url = url
        self.go_on = go_on
        self._stop = stop

    @contextmanager
    def stand(self) -> Iterator[None]:
        self._stop()
        try:
            yield
        finally:
            self.go_on()


@pytest.fixture(params=["frozen", "swallowed"])
def still(server_name: str, home: Any, request: pytest.FixtureRequest) -> Iterator[Still]:
    """By SIGSTOP to its processes; by a network that lets nothing through, and tells nobody."""
    server: Server = request.getfixturevalue(f"{server_name}_server")
    url = make_url(home.url).update_query_dict({"connect_timeout": "2"})
    if request.param == "frozen":
        yield Still(url.render_as_string(hide_password=False), server.freeze, server.thaw)
        return
    with server.behind(request.getfixturevalue("toxiproxy_server")) as behind:
        ((host, port),) = behind.url.addresses
        through = url.set(host=host, port=port).render_as_string(hide_password=False)
        yield Still(through, behind.swallow, behind.mend)


def test_calls_end_when_the_server_stands_still(
    still: Still, home: Any, make: Any, woken: Any, record_property: Callable[[str, object], None]
) -> None:
    """Seen to fail on PostgreSQL with the server's own time limits alone: it never came back.

    The time is told, and not judged, but for it ending at all.
    """
    with Database(still.url, namespace=home.namespace, statement_timeout=SECOND) as database:
        store = SqlRecordStore(database)
        record = make.record()
        store.store(Write(record=record))
        moved = make.next(record)
        with still.stand():
            reading = woken(lambda: told_after(lambda: store.lookup(record.run_id)))
            writing = woken(lambda: told_after(lambda: store.store(Write(record=moved))))
        back = time.monotonic()
        while True:  # as an engine does
            try:
                store.store(Write(record=moved))
                break
            except AdapterUnavailableError:
                assert time.monotonic() - back < PATIENCE
        assert store.lookup(record.run_id).version == 2
        record_property("seconds until a read ended", round(reading, 2))
        record_property("seconds until a write ended", round(writing, 2))
        record_property("seconds to recover", round(time.monotonic() - back, 2))


def test_connecting_ends_when_the_server_stands_still(
    still: Still, home: Any, woken: Any, record_property: Callable[[str, object], None]
) -> None:
    """A worker that is started meanwhile says so, and can be started again."""
    settings = {"namespace": home.namespace, "statement_timeout": SECOND}
    with still.stand():
        seconds = woken(lambda: told_after(lambda: Database(still.url, **settings)))
    record_property("seconds until connecting ended", round(seconds, 2))
    with Database(still.url, **settings):
        pass
