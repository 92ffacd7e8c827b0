"""The configuration files that the pages for beginners show are ones that all adapters take."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

import pytest
from workflow_core import Engine, Run, Workflow
from workflow_core.discovery import Config

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/getting-started.md", "docs/choosing-adapters.md"]
BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Status(IntEnum):
    STARTED = 1
    DONE = 2


@dataclass
class Data:
    pass


FLOW = Workflow("flow", Data, Status, ends=(Status.DONE,))


@FLOW.step(Status.STARTED)
def start(run: Run[Data, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_page_are_understood(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with a setting that no adapter has."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://shop:secret@db/shop")
    monkeypatch.setenv("REDIS_URL", "rediss://cache:6379/0")
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, encoding="utf-8")
        assert "secret" not in repr(Config.load(file))


def test_first_file_is_the_very_same_as_the_embedded_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page says before it. Seen to fail with another name of the file in the page."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    (name,) = set(re.findall(r'Engine\.embedded\("([\w.-]+)"\)', page))
    Path("workflow.toml").write_text(BLOCK.findall(page)[0], encoding="utf-8")
    with Engine.embedded(name) as embedded:
        run_id = embedded.trigger(FLOW, "one", Data())
    with Engine.from_config("workflow.toml", environ={}) as engine, engine.serving(FLOW):
        engine.wait_until_ended(FLOW, run_id, timedelta(seconds=60))
