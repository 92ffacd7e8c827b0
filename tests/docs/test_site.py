"""The documentation builds as a site without a warning, and needs nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib import checks

ROOT = Path(__file__).parents[2]
ASSET = re.compile(r"<(?:link|script|img)\b[^>]*?\b(?:href|src)=\"(?:https?:)?//[^\"]+\"")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, *checks.site(output)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output


def test_every_page_is_in_the_site(site: Path) -> None:
    """Seen to fail with a link to a heading that is not there, and to a page that is not."""
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages == {page.stem for page in (site / "docs").glob("*.html")}


def test_site_asks_nothing_of_other_hosts(site: Path) -> None:
    for page in site.glob("**/*.html"):
        assert not ASSET.findall(page.read_text(encoding="utf-8")), page.name


def test_every_page_is_listed() -> None:
    """Seen to fail with a page that docs/README.md left out: nobody would find it."""
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| \[[^]]+\]\(([\w-]+\.md)\)", contents, re.MULTILINE))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
