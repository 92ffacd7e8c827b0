"""An adapter that is no part of this repository is found, configured and used by its name alone."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.members import ROOT

GUIDE = ROOT / "docs" / "third-party-adapters.md"
EXAMPLE = ROOT / "examples" / "third_party_adapter"

# what an application does that knows the core and the adapter's name
APPLICATION = """
import importlib.metadata as metadata, json, sys
from datetime import timedelta
from workflow_core.discovery import Config, adapters
from workflow_core.model import Event, OutboxEvent, Record, RunState
from workflow_core.ports import Write

config = Config.load()
event = Event(id="e", topic="t", workflow="orders", run_id="r", foreign_id="f", status=1,
              state=RunState.INITIATED, version=1)
record = Record(workflow="orders", foreign_id="f", run_id="r", status=1, state=RunState.INITIATED,
                version=1, write_id="w", data=b"{}")
with config.build() as opened:
    opened.record_store.store(Write(record=record, events=[OutboxEvent(event=event)]))
with config.build() as opened:
    found = opened.record_store.lookup("r")
    filed = opened.record_store.list_outbox_events(["orders"], limit=10)
core = metadata.distribution("workflow-core")
print(json.dumps({
    "installed": [[it.name, it.distribution, it.version, it.port]
                  for it in adapters("workflow_core.record_stores")],
    "names": dict(opened.names),
    "kind": type(opened.record_store).__module__,
    "version": found.version,
    "filed": [it.id for it in filed],
    "values": {it.key: [it.value, it.source] for it in config.values()},
    "core": json.loads(core.read_text("direct_url.json"))["url"],
}))
"""


@pytest.fixture(scope="module")
def python(
    make_environment: Callable[..., Path],
    build_wheel: Callable[[Path, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An application's environment: the core, the adapter, and what those two need."""
    return make_environment(str(build_wheel(EXAMPLE, tmp_path_factory.mktemp("stranger"))))


def call(python: Path, script: str, folder: Path, **variables: str) -> tuple[int, str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WORKFLOW_")}
    done = subprocess.run(
        [str(python), "-I", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        env={**ours, **variables},
        cwd=folder,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_third_party_adapter_is_found_and_used_by_its_name_alone(
    python: Path, tmp_path: Path, dist: Path
) -> None:
    code, out, err = call(
        python, APPLICATION, tmp_path, WORKFLOW_RECORD_STORE="shelf", WORKFLOW_SHELF__FOLDER="."
    )
    assert code == 0, err
    seen = json.loads(out)
    assert ["shelf", "shelf-adapters", "3.1.0", "record_store"] in seen["installed"]
    assert seen["names"] == {"record_store": "shelf"}
    assert seen["kind"] == "shelf_adapters.record_store"
    assert (seen["version"], seen["filed"]) == (1, ["e"])
    assert seen["values"]["adapters.shelf.folder"] == [".", "WORKFLOW_SHELF__FOLDER"]
    assert seen["values"]["adapters.shelf.patience"] == ["30s", "default"]
    assert seen["core"].startswith(dist.as_uri())
    assert (tmp_path / "shelf.db").exists()


def test_third_party_adapters_settings_are_checked_like_our_own(
    python: Path, tmp_path: Path
) -> None:
    code, _, err = call(
        python,
        APPLICATION,
        tmp_path,
        WORKFLOW_RECORD_STORE="shelf",
        WORKFLOW_SHELF__PATIENCE="long",
        WORKFLOW_SHELF__FLODER=".",
    )
    assert code == 1
    for problem in (
        "WORKFLOW_SHELF__FOLDER: required",
        "WORKFLOW_SHELF__PATIENCE: expected a duration",
        "WORKFLOW_SHELF__FLODER: no such setting; did you mean 'WORKFLOW_SHELF__FOLDER'?",
    ):
        assert problem in err


def test_newcomer_gets_a_card_by_following_the_page(
    make_environment: Callable[..., Path],
    build_wheel: Callable[[Path, Path], Path],
    tmp_path: Path,
) -> None:
    """From an empty folder, with nothing but the page and our wheels.

    Seen to fail with a shelf that shows events which their writer still holds, and with a page
    from which a line of a file is missing.
    """
    project = tmp_path / "shelf-adapters"
    for name, text in files_of(GUIDE).items():
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    wheel = build_wheel(project, tmp_path)
    python = make_environment(str(wheel), "workflow-adaptertest", "pytest>=9")
    done = subprocess.run(
        [str(python), *["-m", "pytest", "-q", "--color=no", "--contract-card=card"]],
        capture_output=True,
        text=True,
        cwd=project,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    card = json.loads((project / "card" / "conformance.json").read_text(encoding="utf-8"))
    for name, port in (
        ("TestShelfRecordStore", "record store"),
        ("TestFilesEventStreamer", "event streamer"),
    ):
        entry = card["certificates"][name]
        assert (entry["port"], entry["verdict"]) == (port, "certified")
        assert (entry["distribution"], entry["version"]) == ("shelf-adapters", "3.1.0")
        assert entry["counts"]["every adapter"]["passed"] > 30, "the suite lost its cases"


def test_files_of_the_page_are_those_of_the_example() -> None:
    """Seen to fail when either is changed alone."""
    kept = {
        str(file.relative_to(EXAMPLE)): file.read_text(encoding="utf-8")
        for file in EXAMPLE.rglob("*")
        if file.suffix in {".py", ".toml"}
    }
    assert files_of(GUIDE) == kept


def files_of(page: Path) -> dict[str, str]:
    """What the page has its reader write: the blocks that have a file's name as their title."""
    block = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
    return dict(block.findall(page.read_text(encoding="utf-8")))
