"""An adapter that is no part of this repository is found, configured and used by its name alone."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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

# the whole of the stranger's own test file
CONTRACT = """
from contextlib import AbstractContextManager

from shelf_record_store import ShelfRecordStore, ShelfSettings
from workflow_adaptertest import Env, RecordStoreContract
from workflow_core.ports import RecordStore


class TestShelfRecordStore(RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[RecordStore]:
        return ShelfRecordStore(ShelfSettings(env.folder), env.context())
"""


@pytest.fixture(scope="module")
def python(environment_with: Callable[..., Path]) -> Path:
    """An application's environment: the core, the adapter, and what those two need."""
    return environment_with()


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
    assert ["shelf", "shelf-record-store", "3.1.0", "record_store"] in seen["installed"]
    assert seen["names"] == {"record_store": "shelf"}
    assert seen["kind"] == "shelf_record_store"
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


def test_third_party_adapter_is_certified_by_the_contract_suite(
    environment_with: Callable[..., Path], tmp_path: Path
) -> None:
    """Seen to fail with a shelf that shows events which their writer still holds."""
    python = environment_with("workflow-adaptertest", "pytest>=9")
    (tmp_path / "test_shelf.py").write_text(CONTRACT, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "--color=no", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 100, "the suite lost most of its cases"
