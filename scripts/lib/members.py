"""The members of this repository: found by looking, never listed.

A member is a folder that the workspace globs of the root `pyproject.toml` match, with a
`pyproject.toml` in it; each one becomes a wheel.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Member:
    """One wheel-to-be: its folder and what its `[project]` table says."""

    folder: Path
    project: dict[str, Any]

    @property
    def name(self) -> str:
        """The distribution's name, e.g. `workflow-sql`."""
        return str(self.project["name"])

    @property
    def package(self) -> str:
        """The import name, e.g. `workflow_sql`."""
        return self.name.replace("-", "_")

    @property
    def version(self) -> str:
        return str(self.project["version"])

    @property
    def source(self) -> Path:
        return self.folder / "src"

    @property
    def tests(self) -> Path:
        return self.folder / "tests"

    @property
    def extras(self) -> list[str]:
        return sorted(self.project.get("optional-dependencies", {}))

    @property
    def entry_points(self) -> dict[str, dict[str, str]]:
        return dict(self.project.get("entry-points", {}))

    def with_extras(self, what: str) -> str:
        """`what` with all extras behind it: their drivers are needed to test the member."""
        return f"{what}[{','.join(self.extras)}]" if self.extras else what

    def requirements(self) -> Iterator[str]:
        """Every requirement, those of the extras too."""
        yield from self.project.get("dependencies", [])
        for requirements in self.project.get("optional-dependencies", {}).values():
            yield from requirements


def read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def members() -> tuple[Member, ...]:
    """All members, sorted by name."""
    globs = read_toml(ROOT / "pyproject.toml")["tool"]["hatch"]["envs"]["default"]["workspace"]
    files = {file for glob in globs["members"] for file in ROOT.glob(f"{glob}/pyproject.toml")}
    found = (Member(file.parent, read_toml(file)["project"]) for file in files)
    return tuple(sorted(found, key=lambda member: member.name))


def dependency_group(name: str) -> list[str]:
    """The requirements of one of the root's dependency groups, included groups unfolded."""
    requirements: list[str] = []
    for entry in read_toml(ROOT / "pyproject.toml")["dependency-groups"][name]:
        if isinstance(entry, dict):
            requirements += dependency_group(entry["include-group"])
        else:
            requirements.append(entry)
    return requirements


def requirement_name(requirement: str) -> str:
    """The normalised name at the head of a requirement."""
    head = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", head.group() if head else requirement).lower()
