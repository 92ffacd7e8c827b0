"""Builds every member once and pins each sibling's name to its own file."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lib.environment import uv_environment
from lib.members import Member, members

PINS = "siblings.txt"


def build_all(dist: Path, python: str | Path) -> Path:
    """Empties `dist`, builds all sdists and, from the sdists, all wheels; answers the pins.

    `python` is an interpreter that has `build` and `uv`.
    """
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    env = uv_environment(python)

    def build(member: Member) -> None:
        command = [python, "-m", "build", "--installer", "uv", "--outdir", dist, member.folder]
        done = subprocess.run(
            [str(word) for word in command],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{member.name} does not build:\n{done.stdout}")

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(build, members()))
    return write_pins(dist)


def write_pins(dist: Path, *, but: str = "") -> Path:
    """A constraints file, one line a wheel, for every install that could meet a sibling's name.

    Without it an installer takes a sibling from the public index, where some of the names belong to
    strangers. `but` leaves out the one that is itself to be installed from another file.
    """
    pins = dist / (f"siblings-of-{but}.txt" if but else PINS)
    others = [member for member in members() if member.name != but]
    lines = [f"{member.name} @ {wheel(dist, member).as_uri()}\n" for member in others]
    pins.write_text("".join(lines), encoding="utf-8")
    return pins


def wheel(dist: Path, member: Member) -> Path:
    return dist / f"{member.package}-{member.version}-py3-none-any.whl"


def sdist(dist: Path, member: Member) -> Path:
    return dist / f"{member.package}-{member.version}.tar.gz"
