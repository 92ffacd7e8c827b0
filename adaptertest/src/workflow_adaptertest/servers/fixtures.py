"""Pytest's way to the servers: three fixtures for each, and their versions at the start of a run.

For a server such as ``redis-cluster``:

- ``redis_cluster_server``: the `Server`, one for the session;
- ``redis_cluster_space``: a `Space` of it, one for each test;
- ``redis_cluster_behind``: the server as seen through Toxiproxy, `Proxied`, one for each test.

A server that cannot be had skips the test, and under ``CI=true`` fails it. A test that broke the
server by its verbs finds it healed afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from workflow_adaptertest.servers.errors import NotAvailableError, ServersError
from workflow_adaptertest.servers.kinds import KINDS
from workflow_adaptertest.servers.proxies import Proxied
from workflow_adaptertest.servers.resolver import Servers, usual_sources
from workflow_adaptertest.servers.server import Server, Space

__all__ = [
    "pytest_configure",
    "pytest_report_collectionfinish",
    "pytest_runtest_teardown",
    "pytest_unconfigure",
]

_SERVERS = pytest.StashKey[Servers]()
_FOLDER = ".services"
_ENDINGS = ("_server", "_space", "_behind")


def pytest_configure(config: pytest.Config) -> None:
    """Prepares the look-up; nothing starts before a test asks for it."""
    config.stash[_SERVERS] = Servers(usual_sources(config.rootpath / _FOLDER))
    config.pluginmanager.register(_fixtures(), "workflow-servers-fixtures")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends what this session started."""
    if _SERVERS in config.stash:
        config.stash[_SERVERS].close()


def pytest_report_collectionfinish(
    config: pytest.Config, start_path: Path, items: Sequence[pytest.Item]
) -> list[str]:
    """Says which servers this run needs, in which versions, and where they come from."""
    asked: set[str] = set()
    for item in items:
        asked.update(getattr(item, "fixturenames", ()))
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            # a test over several servers gets their names, and asks for the fixtures by them
            values = item.callspec.params.values()
            names = [value for value in values if isinstance(value, str)]
            asked.update(f"{name}{_ENDINGS[0]}".replace("-", "_") for name in names)
    servers = config.stash[_SERVERS]
    needed = [
        name
        for name in KINDS
        if any(name.replace("-", "_") + ending in asked for ending in _ENDINGS)
    ]
    return [f"server {name}: {servers.foretell(name)}" for name in needed]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Heals what the test broke, before its fixtures have to clean up there."""
    problem: ServersError | None = None
    try:
        item.config.stash[_SERVERS].heal()
    except ServersError as error:
        problem = error
    yield
    if problem is not None:
        raise problem


def _get(request: pytest.FixtureRequest, name: str) -> Server:
    try:
        return request.config.stash[_SERVERS].get(name)
    except NotAvailableError as error:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(f"skipped, which CI does not allow: {error}", pytrace=False)
        pytest.skip(str(error))


def _fixtures() -> ModuleType:
    """What the fixtures of all servers hang on, for pytest to find them there."""
    holder = ModuleType("workflow_servers_fixtures")
    for name in KINDS:
        prefix = name.replace("-", "_")
        for ending, make in zip(_ENDINGS, _fixtures_of(name, prefix), strict=True):
            setattr(holder, prefix + ending, make)
    return holder


def _fixtures_of(name: str, prefix: str) -> tuple[Callable[..., object], ...]:
    @pytest.fixture(scope="session", name=f"{prefix}_server")
    def server(request: pytest.FixtureRequest) -> Server:
        return _get(request, name)

    @pytest.fixture(name=f"{prefix}_space")
    def space(request: pytest.FixtureRequest) -> Iterator[Space]:
        whole: Server = request.getfixturevalue(f"{prefix}_server")
        with whole.own_space() as own:
            yield own

    @pytest.fixture(name=f"{prefix}_behind")
    def behind(request: pytest.FixtureRequest) -> Iterator[Proxied]:
        whole: Server = request.getfixturevalue(f"{prefix}_server")
        with whole.behind(_get(request, "toxiproxy")) as through:
            yield through

    return server, space, behind
