"""The names' trap: `workflow-core` on the public index is somebody else's project."""

import importlib.metadata as metadata
import json
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
