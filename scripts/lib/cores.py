"""Which released cores each member has to work with, besides the one in this tree.

From the ranges in the members' `pyproject.toml` and the tags: the lowest core that the range
allows, and the last two that were released within it. A core of the tree's own version is no
release: it is what all other tests run on.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from lib import wheels
from lib.environment import uv_environment
from lib.members import ROOT, Member, members

CORE = "workflow-core"
SUITE = "workflow-adaptertest"  # is itself what the others are tested with
LAST = 2


def released() -> list[Version]:
    """The cores that have a tag here."""
    prefix = f"{CORE}-v"
    told = git("tag", "--list", f"{prefix}*").split()
    return sorted(Version(tag.removeprefix(prefix)) for tag in told)


def wanted(requirement: str, tree: Version, released: Iterable[Version]) -> list[Version]:
    """The cores, lowest first, that a member with this requirement is to be tested with.

    The lowest is the floor itself, so that a range may not promise what was never released.
    """
    allowed = Requirement(requirement).specifier
    last = [each for each in sorted(released) if each in allowed and each != tree][-LAST:]
    floor = lowest(allowed)
    return sorted({*last, *([] if floor == tree else [floor])})


def lowest(allowed: SpecifierSet) -> Version:
    """The floor of a range."""
    floors = [Version(each.version) for each in allowed if each.operator in {">=", "==", "~="}]
    if not floors:
        raise ValueError(f"{CORE}{allowed} has no floor: say the lowest version that is tested")
    return max(floors)


def pairs() -> list[tuple[Member, Version]]:
    """Each member that holds adapters with each released core that it has to work with."""
    tree = next(Version(member.version) for member in members() if member.name == CORE)
    known = released()
    return [
        (member, version)
        for member in members()
        if member.name != SUITE and contracts(member)
        for requirement in member.requirements()
        if Requirement(requirement).name == CORE
        for version in wanted(requirement, tree, known)
    ]


def contracts(member: Member) -> list[str]:
    """The files of its tests that certify it."""
    files = sorted(member.tests.rglob("test_*.py"))
    return [str(file) for file in files if "Contract):" in file.read_text("utf-8")]


def pins_with(core: Version, dist: Path, scratch: Path) -> Path:
    """A constraints file with that core's wheel, built from its tag, in the place of the tree's.

    Raises:
        RuntimeError: the tag is not here: a shallow clone, or a floor that was never released.
    """
    tag = next(
        (f"{CORE}-v{told}" for told in spellings(core) if git("tag", "--list", f"{CORE}-v{told}")),
        None,
    )
    if tag is None:
        raise RuntimeError(
            f"no tag {CORE}-v{core}: fetch the tags, or raise the floor to a version that exists"
        )
    source = scratch / f"core-{core}"
    git("worktree", "add", "--detach", str(source), tag)
    try:
        command = [sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir"]
        folder = source / "packages" / CORE
        env = uv_environment(sys.executable)
        subprocess.run([*command, str(scratch / f"dist-{core}"), str(folder)], env=env, check=True)
    finally:
        git("worktree", "remove", "--force", str(source))
    (wheel,) = (scratch / f"dist-{core}").glob("*.whl")
    others = wheels.write_pins(dist, but=CORE).read_text("utf-8")
    pins = scratch / f"siblings-with-core-{core}.txt"
    pins.write_text(f"{others}{CORE} @ {wheel.as_uri()}\n", encoding="utf-8")
    return pins


def spellings(version: Version) -> list[str]:
    """As a range says it, 0.1, and as a release is tagged, 0.1.0."""
    return [str(version), f"{version}.0"]


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout
