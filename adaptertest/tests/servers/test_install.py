"""How programs come onto a machine, with recipes that only note what they would have done."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from workflow_adaptertest.servers import KINDS, NotAvailableError
from workflow_adaptertest.servers.install import install
from workflow_adaptertest.servers.kinds.redis import RedisServer
from workflow_adaptertest.servers.place import Tools
from workflow_adaptertest.servers.recipes import Download, Recipe, SystemPackages, run

LOG: list[str] = []


@dataclass(frozen=True)
class Note(Download):
    """A download that notes itself, or fails."""

    name: str
    fails: bool = False
    tools_first: tuple[SystemPackages, ...] = field(default=())

    def _fill(self, folder: Path) -> None:
        LOG.append(self.name)
        if self.fails:
            raise NotAvailableError(f"{self.name} cannot be had")


MAKER = SystemPackages(("maker-package",), ("no-such-maker",))


def kind_with(*recipes: Recipe) -> RedisServer:
    class Needy(RedisServer):
        needs = recipes  # type: ignore[assignment]

    return Needy()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """An empty folder, and packages that are noted only."""
    LOG.clear()
    monkeypatch.setattr(
        SystemPackages, "install", staticmethod(lambda names: LOG.append(",".join(names)))
    )
    return Tools(tmp_path / "installed")


def test_second_install_does_nothing(tools: Tools) -> None:
    for _ in range(2):
        install([kind_with(Note("jars"))], tools)
    assert LOG == ["jars"]


def test_interrupted_download_is_made_anew(tools: Tools) -> None:
    with pytest.raises(NotAvailableError):
        install([kind_with(Note("jars", fails=True))], tools)
    (tools.folder / "jars" / "half").touch()
    assert "scripts/services install" in Note("jars").missing(tools)
    install([kind_with(Note("jars"))], tools)
    assert LOG == ["jars", "jars"]
    assert not (tools.folder / "jars" / "half").exists()
    assert Note("jars").missing(tools) == ""


def test_packages_of_all_servers_are_installed_in_one_go(tools: Tools) -> None:
    absent = [SystemPackages((name,), (f"no-such-{name}",)) for name in ("a", "b")]
    install([kind_with(absent[0]), kind_with(absent[1], absent[0])], tools)
    assert LOG == ["a,b"]


def test_download_waits_for_the_package_that_makes_it(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = threading.Event()

    def packages(names: list[str]) -> None:
        assert other.wait(30)  # the download that needs none of them does not wait for them
        LOG.append("packages")

    class Other(Note):
        def _fill(self, folder: Path) -> None:
            super()._fill(folder)
            other.set()

    monkeypatch.setattr(SystemPackages, "install", staticmethod(packages))
    install([kind_with(Note("jars", tools_first=(MAKER,)), Other("other"))], tools)
    assert LOG == ["other", "packages", "jars"]


def test_package_that_only_makes_a_download_is_not_needed_once_it_is_made(tools: Tools) -> None:
    jars = Note("jars", tools_first=(MAKER,))
    jars.install(tools)
    LOG.clear()
    install([kind_with(jars)], tools)
    assert LOG == []


def test_failure_holds_up_nothing_else_and_is_told(tools: Tools) -> None:
    with pytest.raises(NotAvailableError, match="jars cannot be had"):
        install([kind_with(Note("jars", fails=True), Note("other"))], tools)
    assert Note("other").missing(tools) == ""


def test_packages_start_no_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    seen: list[str] = []
    monkeypatch.setattr("workflow_adaptertest.servers.recipes._POLICY", policy)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: "found")
    monkeypatch.setattr(
        "workflow_adaptertest.servers.recipes.run",
        lambda *_, **__: seen.append(policy.read_text(encoding="ascii")),
    )
    SystemPackages.install(["redis-server"])
    assert seen == ["#!/bin/sh\nexit 101\n"] * 2
    assert not policy.exists()


def test_who_is_not_root_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(NotAvailableError, match="apt-get install redis-server"):
        SystemPackages.install(["redis-server"])


def test_failed_tool_tells_its_last_words() -> None:
    with pytest.raises(NotAvailableError, match="too cold"):
        run(["sh", "-c", "echo too cold; exit 1"])


def test_every_kind_says_what_it_misses_on_a_bare_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    bare = Tools(tmp_path)
    said = {name: kind.missing(bare) for name, kind in KINDS.items()}
    # PostgreSQL's programs are looked for in its own folders, which this test cannot empty
    assert all(text for name, text in said.items() if not name.startswith("postgres")), said
