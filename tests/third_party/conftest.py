"""A stranger's wheel, built here, in environments of its own beside the core's built wheel."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import wheels
from lib.environment import uv_environment


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory: pytest.TempPathFactory, dist: Path) -> Callable[..., Path]:
    """Makes an environment with these wheels and requirements; answers its interpreter.

    The constraints file pins each of this repository's names to the wheel that was built here: by
    its name alone, workflow-core would be somebody else's.
    """

    def make(*wanted: str) -> Path:
        folder = tmp_path_factory.mktemp("environment") / "env"
        python = folder / "bin" / "python"
        run("uv", "--quiet", "venv", "--python", sys.executable, str(folder))
        install = ["uv", "--quiet", "pip", "install", "--python", str(python)]
        run(*install, "--constraint", str(dist / wheels.PINS), *wanted)
        return python

    return make


@pytest.fixture(scope="session")
def build_wheel() -> Callable[[Path, Path], Path]:
    """Builds the wheel of a project into a folder."""

    def build(project: Path, folder: Path) -> Path:
        run("build", "--wheel", "--installer", "uv", "--outdir", str(folder), str(project))
        (wheel,) = folder.glob("*.whl")
        return wheel

    return build


def run(*words: str) -> None:
    command = [sys.executable, "-m", *words]
    env = uv_environment(sys.executable)
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
