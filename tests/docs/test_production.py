"""The configuration files that the pages for beginners show are ones that all adapters take."""

import re
from pathlib import Path

import pytest
from workflow_core.discovery import Config

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/getting-started.md", "docs/choosing-adapters.md"]
BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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
