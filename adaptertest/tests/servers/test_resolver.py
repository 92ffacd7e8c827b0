"""Where a server comes from, and in which order that is tried."""

import os
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from workflow_adaptertest.servers import (
    KINDS,
    BadUrlError,
    CannotBreakError,
    DidNotStartError,
    Fleet,
    Kind,
    NotAvailableError,
    Server,
    Servers,
    ServerUrl,
    Space,
    usual_sources,
)
from workflow_adaptertest.servers.control import NoControl
from workflow_adaptertest.servers.docker import engine_answers
from workflow_adaptertest.servers.place import Tools
from workflow_adaptertest.servers.resolver import Docker, Given, Here, Source


class Fake(Source):
    """A source that answers one thing, and counts how often it is asked."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.asked = 0
        self.closed = False

    def foretell(self, kind: Kind) -> str:
        return self.offer(kind).source

    def offer(self, kind: Kind) -> Server:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        url = kind.parse("redis://127.0.0.1:1")
        control = NoControl(kind.name, kind.variable)
        return Server(kind, url, "7", self.answer, control, Tools(Path()))

    def close(self) -> None:
        self.closed = True


def test_first_source_that_has_the_server_gives_it() -> None:
    sources = [Fake(NotAvailableError("not set")), Fake("second"), Fake("third")]
    assert Servers(sources).get("redis").source == "second"
    assert [source.asked for source in sources] == [1, 1, 0]
    assert Servers(sources).foretell("redis") == "second"


def test_usual_order_is_url_then_docker_then_this_machine(tmp_path: Path) -> None:
    assert [type(source) for source in usual_sources(tmp_path)] == [Given, Docker, Here]


def test_server_is_looked_for_once_also_in_vain() -> None:
    source = Fake(NotAvailableError("not set"))
    servers = Servers([source])
    for _ in range(2):
        with pytest.raises(NotAvailableError):
            servers.get("redis")
    assert source.asked == 1


def test_reasons_of_all_sources_are_told() -> None:
    sources = [Fake(NotAvailableError("no URL")), Fake(NotAvailableError("no engine"))]
    with pytest.raises(NotAvailableError, match="no redis: no URL; no engine"):
        Servers(sources).get("redis")
    assert Servers(sources).foretell("redis") == "none: no URL; no engine"


@pytest.mark.parametrize("error", [DidNotStartError("it is ill"), BadUrlError("no URL")])
def test_broken_source_is_not_passed_over_in_silence(error: Exception) -> None:
    following = Fake("the next one")
    with pytest.raises(type(error)):
        Servers([Fake(error), following]).get("redis")
    assert following.asked == 0


def test_sources_are_closed_with_the_servers() -> None:
    source = Fake("here")
    with Servers([source]) as servers:
        servers.get("redis")
        assert not source.closed
    assert source.closed


def test_url_in_the_environment_comes_first(redis_server: Server, tmp_path: Path) -> None:
    given = {"WORKFLOW_TEST_REDIS_URL": str(redis_server.url)}
    with Servers(usual_sources(tmp_path, given)) as servers:
        server = servers.get("redis")
        assert server.url == redis_server.url
        assert server.version == redis_server.version
        assert servers.foretell("redis") == f"{server.version} by WORKFLOW_TEST_REDIS_URL"
    assert list(tmp_path.iterdir()) == []


def test_server_of_somebody_else_cannot_be_broken(redis_server: Server, tmp_path: Path) -> None:
    given = {"WORKFLOW_TEST_REDIS_URL": str(redis_server.url)}
    server = Servers(usual_sources(tmp_path, given)).get("redis")
    for verb in (server.kill, server.freeze, server.restart, server.fill_disk, server.thaw):
        with pytest.raises(CannotBreakError, match="given by WORKFLOW_TEST_REDIS_URL"):
            verb()
    server.heal()


def test_server_of_the_named_folder_can_be_broken_by_its_url(fleet: Fleet) -> None:
    fleet.start(["redis"], kept=True)
    given = {
        "WORKFLOW_TEST_SERVERS": str(fleet.folder),
        "WORKFLOW_TEST_REDIS_URL": str(fleet.url("redis")),
    }
    with Servers(usual_sources(fleet.folder.parent, given)) as servers:
        server = servers.get("redis")
        server.kill()
        assert not fleet.is_up("redis")
        assert server.is_broken
        servers.heal()
    assert fleet.is_up("redis")


def test_given_server_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    given = {"WORKFLOW_TEST_REDIS_URL": "redis://127.0.0.1:1"}
    with pytest.raises(DidNotStartError, match="WORKFLOW_TEST_REDIS_URL"):
        Servers(usual_sources(tmp_path, given)).get("redis")


@pytest.mark.parametrize("text", ["127.0.0.1:6379", "redis://", "redis://host:port"])
def test_given_text_that_is_no_url_is_an_error(text: str, tmp_path: Path) -> None:
    given = {"WORKFLOW_TEST_REDIS_URL": text}
    with pytest.raises(BadUrlError, match="host"):
        Servers(usual_sources(tmp_path, given)).get("redis")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://postgres@127.0.0.1:1,127.0.0.1:2/orders",
        "kafka+sasl-ssl://me:p%40ss@127.0.0.1:9093?mechanism=PLAIN&ca=/ca.pem",
        "http://[::1]:2379",
    ],
)
def test_url_is_read_as_it_is_written(text: str) -> None:
    assert str(ServerUrl.parse(text, port=1)) == text


def test_url_without_a_port_has_the_servers_own() -> None:
    assert KINDS["postgres"].parse("postgresql://me@db/orders").address == ("db", 5432)


def test_password_is_in_no_repr() -> None:
    assert "hidden" not in repr(ServerUrl.parse("redis://me:hidden@host", port=1))


def test_every_server_has_a_variable_of_its_own() -> None:
    variables = {one.variable for one in KINDS.values()}
    assert len(variables) == len(KINDS)
    assert "WORKFLOW_TEST_REDIS_CLUSTER_URL" in variables


# -- containers, without an engine


class Engine:
    """What the source uses of testcontainers; its containers are servers of this machine."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.calls: list[object] = []
        self.status = "running"

    def module(self) -> types.ModuleType:
        module = types.ModuleType("testcontainers.core.container")
        module.DockerContainer = self.container  # type: ignore[attr-defined]
        return module

    def container(self, image: str) -> "Engine":
        self.calls.append(image)
        return self

    def with_bind_ports(self, inside: int, outside: int) -> None:
        self.calls.append(inside)
        folder = self.fleet.folder / "run" / "redis"
        folder.mkdir(parents=True)
        (folder / "ports.json").write_text(f'{{"primary": {outside}}}', encoding="utf-8")

    def with_env(self, key: str, value: str) -> None:
        self.calls.append((key, value))

    def start(self) -> None:
        self.fleet.start(["redis"])
        self.status = "running"

    def stop(self) -> None:
        self.fleet.stop()

    def get_wrapped_container(self) -> "Engine":
        return self

    def reload(self) -> None: ...

    def pause(self) -> None:
        self.calls.append("pause")
        self.status = "paused"

    def unpause(self) -> None:
        self.calls.append("unpause")
        self.status = "running"


def test_container_comes_before_this_machine(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(fleet)
    monkeypatch.setattr("workflow_adaptertest.servers.resolver.engine_answers", lambda: "")
    monkeypatch.setitem(sys.modules, "testcontainers.core.container", engine.module())
    with Servers(usual_sources(tmp_path / "unused", {})) as servers:
        assert servers.foretell("redis") == "redis:7 in a container"
        server = servers.get("redis")
        assert server.source == "redis:7 in a container"
        assert server.url == fleet.url("redis")
        server.freeze()
        server.thaw()
        server.thaw()
    assert engine.calls == ["redis:7", 6379, "pause", "unpause"]
    assert fleet.entries() == {}


def test_container_is_passed_over_where_no_engine_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert "no Docker engine answers" in engine_answers()
    with pytest.raises(NotAvailableError, match="no Docker engine answers"):
        Docker(Fleet(tmp_path)).offer(KINDS["redis"])


def test_variant_is_never_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow_adaptertest.servers.resolver.engine_answers", lambda: "")
    for name in ("redis-cluster", "postgres-replica", "kafka-secure", "postgres-small-disk"):
        with pytest.raises(NotAvailableError, match="no container"):
            Docker(Fleet(tmp_path)).offer(KINDS[name])


# -- what pytest makes of it

USES_REDIS = """
def test_it(redis_space):
    assert redis_space.name
"""


BREAKS_REDIS = """
def test_it(redis_server, redis_space):
    redis_server.kill()
"""


def run_pytest(folder: Path, environment: Mapping[str, str], test: str = USES_REDIS) -> str:
    """A session of its own, without the URLs of this one, and with an empty folder of servers."""
    (folder / "test_it.py").write_text(test, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if "WORKFLOW_TEST" not in key}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_missing_server_skips_with_its_reason(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, {"PATH": str(tmp_path), "CI": ""})
    assert "1 skipped" in output
    assert "apt-get install redis-server" in output


def test_missing_server_fails_under_ci(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, {"PATH": str(tmp_path), "CI": "true"})
    assert "1 failed" not in output
    assert "1 error" in output
    assert "skipped, which CI does not allow: no redis" in output


def test_session_says_what_it_uses_and_ends_what_it_started(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, {"CI": "true"})
    assert "1 passed" in output
    assert "server redis: 7." in output
    assert "on this machine" in output
    assert Fleet(tmp_path / ".services").entries() == {}


def test_server_is_healed_before_a_tests_own_part_is_removed(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, {"CI": "true"}, BREAKS_REDIS)
    assert "1 passed" in output
    assert "error" not in output


def test_space_leaves_nothing_behind(redis_server: Server, etcd_server: Server) -> None:
    names: list[str] = []
    for server in (redis_server, etcd_server):
        with server.own_space() as space:
            put(server, space)
            assert find_names(server, space.name)
            names.append(space.name)
        assert not find_names(server, space.name)
    assert len(set(names)) == 2


def put(server: Server, space: Space) -> None:
    words = ["set"] if server.name == "redis" else ["put"]
    subprocess.run([*server.client(), *words, f"a/{space.name}/b", "1"], check=True)


def find_names(server: Server, name: str) -> list[str]:
    words = ["keys", "*"] if server.name == "redis" else ["get", "--prefix", "--keys-only", ""]
    listed: Any = subprocess.run(
        [*server.client(), *words], check=True, capture_output=True, text=True
    )
    return [line for line in listed.stdout.splitlines() if name in line]
