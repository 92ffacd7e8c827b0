"""A password is told to the server alone: no error, log or repr shows it, whatever goes wrong."""

from __future__ import annotations

import logging
import subprocess
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import URL, make_url
from workflow_adaptertest.servers import Server
from workflow_adaptertest.servers.ports import free_ports
from workflow_core.errors import AdapterUnavailableError, ConfigurationError
from workflow_core.ports import AdapterContext, Secret
from workflow_sql import (
    Database,
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlSettings,
    SqlTimeoutStore,
    upgrade,
)

PASSWORD = "h4sh@w1nd/s3a:sk7y?f0g%ra1n"  # what has to be escaped in a url, all of it
PARTS = ("h4sh", "w1nd", "s3a", "sk7y", "f0g", "ra1n")


def assert_hidden(*texts: str) -> None:
    for text in texts:
        for part in PARTS:
            assert part not in text, text


def whole(error: BaseException) -> str:
    """All that anybody prints of an error: its notes and causes too."""
    return "".join(traceback.format_exception(error)) + repr(error)


def written(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.fixture
def server(server_name: str, request: pytest.FixtureRequest) -> Server:
    """The PostgreSQL that lets nobody in without a password; the others look at it anyway."""
    secure = "_secure" if server_name == "postgres" else ""
    found: Server = request.getfixturevalue(f"{server_name}{secure}_server")
    return found


@pytest.fixture
def url(server: Server) -> Iterator[URL]:
    """A database of one's own, with a user whose password is the one above."""
    user = f"u{uuid.uuid4().hex[:12]}"
    with server.own_space() as space:
        if server.name.startswith("postgres"):
            make = [f"create role {user} login superuser password '{PASSWORD}'"]
            option, leave = "-c", f"alter database {space.name} owner to postgres"
        else:
            make = [
                f"create user '{user}'@'127.0.0.1' identified by '{PASSWORD}'",
                f"grant all on `{space.name}`.* to '{user}'@'127.0.0.1'",
            ]
            option, leave = "-e", "select 1"
        for statement in make:
            subprocess.run([*server.client(), option, statement], check=True, capture_output=True)
        yield make_url(str(space.url)).set(username=user, password=PASSWORD)
        server.heal()
        subprocess.run([*server.client(), option, leave], check=True, capture_output=True)
    drop = user if option == "-c" else f"'{user}'@'127.0.0.1'"
    subject = "role" if option == "-c" else "user"
    subprocess.run(
        [*server.client(), option, f"drop {subject} {drop}"], check=True, capture_output=True
    )


def test_password_is_hidden_when_it_is_wrong_or_nobody_is_there(
    url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail with the url in a note of the error."""
    caplog.set_level(logging.DEBUG)
    wrong = url.set(password=f"{PASSWORD}x")
    away = url.set(port=free_ports(1)[0])
    for harmed, words in ((wrong, "does not let this user in"), (away, "no connection")):
        with pytest.raises(AdapterUnavailableError, match=words) as caught:
            Database(written(harmed))
        assert_hidden(whole(caught.value), caplog.text)


def test_password_is_hidden_when_connections_break(
    url: URL, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the replica too, of which the log tells. Seen to fail with the url in that line."""
    caplog.set_level(logging.DEBUG)
    upgrade(written(url))
    nobody = Secret(written(url.set(port=free_ports(1)[0])))
    settings = SqlSettings(url=Secret(written(url)), replica_url=nobody)
    with ExitStack() as stack:
        context = AdapterContext(instance="i")
        stack.callback(context.close)
        kinds: list[Any] = [SqlRecordStore, SqlEventStreamer, SqlRoleScheduler, SqlTimeoutStore]
        adapters = [stack.enter_context(kind.from_config(settings, context)) for kind in kinds]
        database = stack.enter_context(Database(written(url), replica_url=nobody))
        store = SqlRecordStore(database)
        store.lookup_many(["nobody"])
        assert "the replica does not answer" in caplog.text
        calls: list[Callable[[], object]] = [
            lambda: in_a_transaction(database, server),
            lambda: store.lookup_many(["nobody"], primary=True),
            lambda: store.list_outbox_events(["orders"], limit=1),
            database.check_health,
        ]
        for call in calls:
            with pytest.raises(AdapterUnavailableError) as caught:
                call()
            assert_hidden(whole(caught.value))
        parts = [part for each in (database, *adapters) for part in vars(each).values()]
        assert_hidden(*map(repr, [settings, settings.connections, context, database, *adapters]))
        assert_hidden(*map(repr, parts), *map(str, parts))
    assert_hidden(caplog.text)


def in_a_transaction(database: Database, server: Server) -> None:
    with database.writing("writing") as writing:
        server.kill()
        writing.cursor.execute("select 1")


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
@pytest.mark.parametrize(
    "rest",
    [
        "w1nd@s3a:sk7y@127.0.0.1/orders",
        "h4sh@w1nd@127.0.0.1/orders",
        "h4sh@w1nd/s3a@127.0.0.1/orders",
        "h4sh:w1nd@127.0.0.1:s3a/orders",
        "h4sh@127.0.0.1:1:w1nd/orders",
    ],
)
def test_url_is_refused_without_its_text_when_a_password_is_not_escaped(
    scheme: str, rest: str
) -> None:
    """Seen to fail: a part of it was the host, and drivers tell of hosts they cannot find."""
    with pytest.raises(ConfigurationError, match=r"%40") as caught:
        Database(f"{scheme}://user:{rest}")
    assert_hidden(whole(caught.value))


@pytest.mark.parametrize("option", ["sslmode=verify-full", "connect_timeout=soon", "speed=1"])
def test_mysql_url_is_refused_when_the_driver_has_no_such_option(option: str) -> None:
    """Seen to fail with the driver's own TypeError."""
    url = f"mysql://user:{quote(PASSWORD, safe='')}@127.0.0.1/orders?{option}"
    with pytest.raises(ConfigurationError, match="the url has") as caught:
        Database(url)
    assert_hidden(whole(caught.value))
