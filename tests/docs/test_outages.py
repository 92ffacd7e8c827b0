"""Every row of docs/outages.md names a test that is there, or says that there is none."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "outages.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w./-]+\.py)::(test_\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_named_test_is_there(file: str, test: str) -> None:
    """Seen to fail with a test that was given another name."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_tells_what_shows_it() -> None:
    """Seen to fail with a row whose last cell was empty."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| what happens ")]
    assert rows
    for row in rows:
        *_, shown, _ = row.split("|")
        assert re.search(r"::test_|the same test|^ no test", shown), row
