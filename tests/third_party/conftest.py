"""A stranger's wheel, built here, in environments of its own beside the core's built wheel."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import wheels
from lib.environment import uv_environment

STRANGER = Path(__file__).parent / "shelf_record_store"


@pytest.fixture(scope="session")
def shelf_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger")
    run("build", "--wheel", "--installer", "uv", "--outdir", str(folder), str(STRANGER))
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def environment_with(
    tmp_path_factory: pytest.TempPathFactory, dist: Path, shelf_wheel: Path
) -> Callable[..., Path]:
    """Makes an environment with the stranger's wheel and others; answers its interpreter.

    The constraints file pins each of this repository's names to the wheel that was built here: by
    its name alone, workflow-core would be somebody else's.
    """

    def make(*others: str) -> Path:
        folder = tmp_path_factory.mktemp("environment") / "env"
        python = folder / "bin" / "python"
        pins = dist / wheels.PINS
        run("uv", "--quiet", "venv", "--python", sys.executable, str(folder))
        install = ["uv", "--quiet", "pip", "install", "--python", str(python)]
        run(*install, "--constraint", str(pins), str(shelf_wheel), *others)
        return python

    return make


def run(*words: str) -> None:
    command = [sys.executable, "-m", *words]
    env = uv_environment(sys.executable)
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
