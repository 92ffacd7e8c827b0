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


SHOP = """
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Run, Workflow

class Status(IntEnum):
    ORDERED = 1
    AWAITING_PAYMENT = 2
    SHIPPED = 3
    GIVEN_UP = 4

@dataclass
class Order:
    total: int
    receipt: str = ""

orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED, Status.GIVEN_UP))

@orders.step(Status.ORDERED)
async def check(run: Run[Order, Status]) -> Literal[Status.AWAITING_PAYMENT]:
    return Status.AWAITING_PAYMENT

@orders.callback(Status.AWAITING_PAYMENT)
def paid(run: Run[Order, Status], receipt: str) -> Literal[Status.SHIPPED]:
    run.data.receipt = receipt
    return Status.SHIPPED

@orders.timeout(Status.AWAITING_PAYMENT, after=timedelta(days=3))
def give_up(run: Run[Order, Status]) -> Literal[Status.GIVEN_UP]:
    return Status.GIVEN_UP
"""
SHOP_TEST = """
from shop import Order, Status, orders, paid

pytest_plugins = ["workflow_core.testing.fixtures"]

def test_order_is_shipped_once_paid_and_given_up_otherwise(driver):
    driver.serve(orders)
    ours, other = (driver.begin(orders, name, Order(total=99)) for name in ("ours", "other"))
    assert ours.call(paid, "receipt 7").data == Order(99, "receipt 7")
    assert other.times_out().status is Status.GIVEN_UP
"""


def test_users_test_of_ten_lines_runs_where_the_wheel_and_pytest_alone_are(
    dist: Path, tmp_path: Path
) -> None:
    """And it fails where the workflow is wrong, and only there.

    Nothing else of ours is installed, and none of this tree's folders is on a path. Seen to fail
    with the fixtures left out of the wheel.
    """
    core = next(member for member in members() if member.name == "workflow-core")
    python = empty_environment(tmp_path / "env")
    uv("pip", "install", "--python", str(python), str(wheels.wheel(dist, core)), "pytest")
    assert len(SHOP_TEST.strip().splitlines()) <= 10
    (tmp_path / "test_shop.py").write_text(SHOP_TEST, encoding="utf-8")
    forgetful = SHOP.replace("run.data.receipt = receipt", "del receipt")
    for flow, code, says in ((SHOP, 0, "1 passed"), (forgetful, 1, "1 failed")):
        (tmp_path / "shop.py").write_text(flow, encoding="utf-8")
        command = [str(python), "-B", "-m", "pytest", "-q", "-W", "error", "test_shop.py"]
        tried = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": ""}, check=False
        )
        assert (tried.returncode, says in tried.stdout) == (code, True), tried.stdout + tried.stderr
