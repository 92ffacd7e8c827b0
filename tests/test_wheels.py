"""Each wheel and each sdist installs into an empty environment and can be imported there."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lib import wheels
from lib.environment import uv_environment
from lib.members import Member, members

MEMBERS = [pytest.param(member, id=member.name) for member in members()]

# Run with the new environment's python: imports the package, loads what its entry points name, and
# tells where the code came from.
LOOK = """
import importlib, importlib.metadata as metadata, json, sys
name, package = sys.argv[1:]
module = importlib.import_module(package)
distribution = metadata.distribution(name)
for entry_point in distribution.entry_points:
    entry_point.load()
core = metadata.distribution("workflow-core")
print(json.dumps({
    "file": module.__file__,
    "version": distribution.version,
    "core": core.metadata.get_all("Classifier"),
    "core_from": json.loads(core.read_text("direct_url.json"))["url"],
}))
"""


def source_files(member: Member) -> set[str]:
    """What the package consists of, data files (migrations, say) too."""
    return {
        path.relative_to(member.source).as_posix()
        for path in member.source.rglob("*")
        if path.is_file()
        and not any(
            part == "__pycache__" or part.startswith(".")  # what tools left behind
            for part in path.relative_to(member.source).parts
        )
    }


@pytest.mark.parametrize("member", MEMBERS)
def test_wheel_holds_the_whole_package_and_nothing_else(member: Member, dist: Path) -> None:
    with zipfile.ZipFile(wheels.wheel(dist, member)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == source_files(member)
    assert f"{member.package}/py.typed" in names


@pytest.mark.parametrize("member", MEMBERS)
def test_sdist_holds_all_that_its_reader_needs(member: Member, dist: Path) -> None:
    with tarfile.open(wheels.sdist(dist, member)) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{name}" for name in source_files(member)} <= names
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"} <= names


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("member", MEMBERS)
def test_distribution_installs_and_imports_in_an_empty_environment(
    member: Member, kind: str, dist: Path, tmp_path: Path
) -> None:
    file = wheels.wheel(dist, member) if kind == "wheel" else wheels.sdist(dist, member)
    pins = wheels.write_pins(dist, but=member.name)

    python = empty_environment(tmp_path / "env")
    uv("pip", "install", "--python", str(python), "--constraint", str(pins), str(file))
    uv("pip", "check", "--python", str(python))

    command = [str(python), "-I", "-W", "error", "-c", LOOK, member.name, member.package]
    looked = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert looked.returncode == 0, looked.stderr
    seen = json.loads(looked.stdout)
    assert Path(seen["file"]).is_relative_to(tmp_path)
    assert seen["version"] == member.version
    assert "Private :: Do Not Upload" in seen["core"]
    assert seen["core_from"].startswith(dist.as_uri())


def empty_environment(folder: Path) -> Path:
    uv("venv", "--python", sys.executable, str(folder))
    return folder / "bin" / "python"


def uv(*words: str) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", *words]
    env = uv_environment(sys.executable)
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
