"""What every member has to say about itself, found in the tree."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lib.members import ROOT, Member, members, read_toml, requirement_name

MEMBERS = [pytest.param(member, id=member.name) for member in members()]
KINDS = {"added", "changed", "fixed", "removed", "security"}


def siblings_required(member: Member) -> list[Requirement]:
    names = {other.name for other in members()}
    parsed = [Requirement(text) for text in member.requirements()]
    return [requirement for requirement in parsed if requirement_name(requirement.name) in names]


def test_every_folder_that_looks_like_a_member_is_one() -> None:
    folders = {path.parent for path in ROOT.glob("*/pyproject.toml")}
    folders |= {path.parent for path in ROOT.glob("packages/*/pyproject.toml")}
    assert folders == {member.folder for member in members()}


@pytest.mark.parametrize("member", MEMBERS)
def test_project_table_keeps_the_house_rules(member: Member) -> None:
    project = member.project
    assert "Private :: Do Not Upload" in project["classifiers"]
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "MIT"
    assert project["license-files"] == ["LICENSE"]
    assert project["readme"] == "README.md"
    assert re.fullmatch(r"\d+\.\d+\.\d+", member.version), "static, and without a suffix"
    build = read_toml(member.folder / "pyproject.toml")["build-system"]
    assert build["build-backend"] == "hatchling.build"


@pytest.mark.parametrize("member", MEMBERS)
def test_folder_holds_what_a_member_has(member: Member) -> None:
    for name in ["README.md", "CHANGELOG.md", "LICENSE", "changes", "src", "tests"]:
        assert (member.folder / name).exists(), f"{member.name} has no {name}"
    assert (member.source / member.package / "__init__.py").exists()
    assert (member.source / member.package / "py.typed").exists()
    packages = [path.name for path in member.source.iterdir() if not path.name.startswith(".")]
    assert packages == [member.package]


@pytest.mark.parametrize("member", MEMBERS)
def test_licence_is_a_real_and_identical_copy(member: Member) -> None:
    licence = member.folder / "LICENSE"
    assert not licence.is_symlink()
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("member", MEMBERS)
def test_every_sibling_in_the_tree_lies_in_the_range_asked_for(member: Member) -> None:
    versions = {other.name: other.version for other in members()}
    for requirement in siblings_required(member):
        version = versions[requirement_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"
        operators = {specifier.operator for specifier in SpecifierSet(str(requirement.specifier))}
        assert operators == {">=", "<"}, f"{requirement} needs a floor and a ceiling"


@pytest.mark.parametrize("member", MEMBERS)
def test_news_fragments_are_named_so_that_a_release_finds_them(member: Member) -> None:
    for fragment in (member.folder / "changes").iterdir():
        slug, _, kind = fragment.name.removesuffix(".md").rpartition(".")
        assert fragment.suffix == ".md", fragment
        assert re.fullmatch(r"[a-z0-9-]+", slug), fragment
        assert kind in KINDS, f"{fragment.name}: one of {sorted(KINDS)}"
        assert fragment.read_text(encoding="utf-8").strip(), f"{fragment.name} says nothing"


def test_import_linter_looks_at_every_package() -> None:
    rules = read_toml(ROOT / "pyproject.toml")["tool"]["importlinter"]
    assert sorted(rules["root_packages"]) == sorted(member.package for member in members())


def test_import_linter_holds_every_adapter_to_the_ports() -> None:
    contracts = read_toml(ROOT / "pyproject.toml")["tool"]["importlinter"]["contracts"]
    by_name = {contract["name"]: contract for contract in contracts}
    held = by_name["adapters keep to the ports"]["source_modules"]
    adapters = [
        member.package
        for member in members()
        if member.name != "workflow-core"
        and any(group.startswith("workflow_core.") for group in member.entry_points)
    ]
    assert sorted(held) == sorted(adapters)
    independent = by_name["adapters do not know each other, nor the suite"]["modules"]
    assert set(adapters) <= set(independent)
    others = by_name["core knows no other wheel"]["forbidden_modules"]
    assert sorted(others) == sorted(
        member.package for member in members() if member.name != "workflow-core"
    )


def test_ruff_and_mypy_read_one_configuration() -> None:
    """A second file would win over the root's in silence."""
    names = ["ruff.toml", "mypy.ini", "pytest.ini", "pytest.toml", "tox.ini", "setup.cfg"]
    stray: list[Path] = [path for name in names for path in ROOT.glob(f"packages/**/{name}")]
    assert stray == []
