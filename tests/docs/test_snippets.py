"""Every Python block of the pages is run: the blocks of one page are one program."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# needs files beside it; its own test, among those of discovery, makes them and compares the output
RUN_ELSEWHERE = {ROOT / "docs" / "configuration.md"}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    found = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return [
        page
        for page in found
        if page not in RUN_ELSEWHERE and BLOCK.search(page.read_text(encoding="utf-8"))
    ]


def program(page: Path) -> str:
    """The page as Python: its blocks on their own lines, so that a traceback names the page's."""
    text = page.read_text(encoding="utf-8")
    kept = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        lines = block.group(1).splitlines()
        kept[first : first + len(lines)] = lines
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs_as_a_program(page: Path, tmp_path: Path) -> None:
    script = tmp_path / f"page_{page.stem}.py"  # a page may be called like a module: logging
    script.write_text(program(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}, line numbers as in the page:\n{done.stderr}"
