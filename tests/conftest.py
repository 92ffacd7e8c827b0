"""What the repository's own tests share."""

import os
import sys
from pathlib import Path

import pytest

# scripts/lib belongs to no wheel
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from lib import wheels
from lib.members import ROOT


def tree() -> list[Path]:
    """Every text file of the repository as a stranger would get it, without asking git."""
    left_out = {"__pycache__", "dist", "build", "node_modules"}
    found: list[Path] = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if (name == ".ci" or not name.startswith(".")) and name not in left_out
        ]
        found += [
            Path(folder) / name
            for name in files
            if not name.startswith(".venv") and name != ".git"  # a file, in a linked work tree
        ]
    return sorted(path for path in found if is_text(path))


def is_text(path: Path) -> bool:
    """Compiled files, databases and pictures hold a zero byte early on."""
    with path.open("rb") as file:
        return b"\0" not in file.read(4096)


@pytest.fixture(scope="session")
def text_files() -> list[Path]:
    return tree()


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All wheels and sdists: those of the run that called us, or built now."""
    if "BUILT_WHEELS" in os.environ:
        return Path(os.environ["BUILT_WHEELS"])
    folder = tmp_path_factory.mktemp("wheels") / "dist"
    wheels.build_all(folder, sys.executable)
    return folder
