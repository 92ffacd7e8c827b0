"""The names' trap: `workflow-core` on the public index is somebody else's project."""

import importlib.metadata as metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib import wheels
from lib.members import ROOT, members


@pytest.mark.parametrize("name", [member.name for member in members()])
def test_installed_member_is_ours(name: str, dist: Path) -> None:
    distribution = metadata.distribution(name)
    assert "Private :: Do Not Upload" in (distribution.metadata.get_all("Classifier") or [])
    url = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    assert url.startswith((ROOT.as_uri(), dist.as_uri())), f"{name} came from {url or 'an index'}"


def test_constraints_pin_every_sibling_to_its_own_file(dist: Path) -> None:
    pins = (dist / wheels.PINS).read_text(encoding="utf-8").splitlines()
    expected = {f"{member.name} @ {wheels.wheel(dist, member).as_uri()}" for member in members()}
    assert set(pins) == expected
    assert all(wheels.wheel(dist, member).is_file() for member in members())


def test_run_refuses_to_start_on_the_stranger_of_the_same_name(tmp_path: Path) -> None:
    stranger = tmp_path / "elsewhere" / "workflow_core-1.12.3.dist-info"
    stranger.mkdir(parents=True)
    text = "Metadata-Version: 2.4\nName: workflow-core\nVersion: 1.12.3\n"
    (stranger / "METADATA").write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "conftest.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(stranger.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "workflow-core 1.12.3 is not this repository's" in done.stderr
