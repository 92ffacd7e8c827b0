"""The pages' blocks: TOML is loaded, Python is run, and what it prints is compared."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.discovery import Catalogue, Config
from workflow_core.engine.settings import EngineSettings
from workflow_core.ports import Secret

DOCS = Path(__file__).resolve().parents[4] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)

# the pages stay in the repository; an unpacked sdist has the tests without them
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the pages are not here")


@dataclass(frozen=True)
class Sql:
    url: Secret
    lock_timeout: timedelta = timedelta(seconds=5)


@dataclass(frozen=True)
class Kafka:
    bootstrap_servers: tuple[str, ...]


@dataclass(frozen=True)
class KafkaSource:
    bootstrap_servers: tuple[str, ...]
    topic: str


@dataclass(frozen=True)
class NoSettings:
    pass


@pytest.fixture(autouse=True)
def installed(
    pretend: Callable[..., None],
    factory: Callable[[str, type[Any]], Any],
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
    pretend("workflow-core", {port: {"memory": factory(port, NoSettings)} for port in ports})
    pretend("workflow-sql", {port: {"sql": factory(port, Sql)} for port in ports})
    streams = {"event_streamer": Kafka, "connector_source": KafkaSource}
    pretend("workflow-kafka", {it: {"kafka": factory(it, streams[it])} for it in streams})
    pretend("workflow-otel", {"observer": {"otel": factory("observer", NoSettings)}})
    pretend("workflow-structlog", {"logging": {"structlog": factory("logging", NoSettings)}})
    monkeypatch.setattr("workflow_core.discovery.config.Catalogue", lambda: catalogue)
    monkeypatch.setenv("DATABASE_URL", "sqlite:///orders.db")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    for match in FENCE.finditer((DOCS / page).read_text(encoding="utf-8")):
        yield match[1], match[2]


def test_blocks_of_the_configuration_page_do_what_they_say(
    write: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    printed, seen = "", []
    for kind, text in blocks("configuration.md"):
        seen.append(kind)
        if kind == "toml":
            write(text)
        elif kind == "python":
            exec(compile(text, "configuration.md", "exec"), names)
            printed = capsys.readouterr().out
        elif kind == "text":
            assert printed == text
    assert seen.count("text") >= 2


def test_files_of_the_configuration_page_are_right_but_for_the_wrong_one(
    write: Callable[[str], str],
) -> None:
    files = [text for kind, text in blocks("configuration.md") if kind == "toml"]
    for text in files:
        if "urll" not in text:
            Config.load(write(text), sections={"engine": EngineSettings})
    assert len(files) >= 3


def test_block_of_the_publishing_page_tells_whose_core_it_is() -> None:
    (program,) = (text for kind, text in blocks("publishing.md") if kind == "python")
    exec(compile(program, "publishing.md", "exec"), {})


def test_every_setting_of_the_engine_is_described() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    settings = {field.name for field in dataclasses.fields(EngineSettings)}
    assert {name for name in settings if f"`{name}`" not in page} == set()
