"""Which released cores a member is tested with follows from its range and the tags."""

import pytest
from packaging.version import Version

from lib import cores
from lib.members import Member, members

TAGS = [Version(told) for told in ("0.1.0", "0.1.1", "0.2.0", "0.2.1", "0.2.2", "0.3.0")]


@pytest.mark.parametrize(
    ("requirement", "tree", "expected"),
    [
        ("workflow-core>=0.1,<0.2", "0.1.0", []),  # the floor is this tree's
        ("workflow-core>=0.2,<0.3", "0.2.3", ["0.2", "0.2.1", "0.2.2"]),
        ("workflow-core>=0.2.2,<0.3", "0.2.3", ["0.2.1", "0.2.2"][1:]),
        ("workflow-core>=0.1,<0.3", "0.2.3", ["0.1", "0.2.1", "0.2.2"]),
        ("workflow-core>=0.3,<0.4", "0.3.1", ["0.3"]),
    ],
)
def test_cores_are_the_floor_and_the_last_two_of_the_range(
    requirement: str, tree: str, expected: list[str]
) -> None:
    """Seen to fail when the floor, the last two or the tree's own version is left out or in."""
    tags = [] if tree == "0.1.0" else TAGS
    wanted = cores.wanted(requirement, Version(tree), tags)
    assert wanted == [Version(each) for each in expected]


def test_range_without_a_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="has no floor"):
        cores.wanted("workflow-core<0.2", Version("0.1.0"), [])


def test_every_member_with_adapters_is_tested_on_a_release_that_it_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it will be after the first release.

    Seen to fail with the suite among them, and with members that have no adapter.
    """
    tree = next(Version(each.version) for each in members() if each.name == cores.CORE)
    after = Version(f"{tree.major}.{tree.minor}.{tree.micro + 7}")
    monkeypatch.setattr(cores, "released", lambda: [after])
    found = {member.name for member, core in cores.pairs() if core == after}
    adapters = {each.name for each in members() if "Contract):" in text_of_tests(each)}
    assert found == adapters - {cores.CORE, cores.SUITE}


def text_of_tests(member: Member) -> str:
    return "".join(file.read_text("utf-8") for file in member.tests.rglob("test_*.py"))
