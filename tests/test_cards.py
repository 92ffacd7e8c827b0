"""The table of the adapters says what their cards say, and the cards what the suite found."""

import copy
from typing import Any

import pytest

from lib import cards
from lib.members import members


def test_table_of_the_docs_is_built_from_the_cards() -> None:
    """Seen to fail when a figure, a count or a reason is changed on either side."""
    text = cards.PAGE.read_text(encoding="utf-8")
    assert cards.page(text, cards.cards()) == text, "run scripts/cards"


def test_each_wheel_whose_tests_certify_an_adapter_has_a_card() -> None:
    certified = {
        member.name
        for member in members()
        if member.name != "workflow-adaptertest"
        and any("Contract):" in file.read_text("utf-8") for file in member.tests.rglob("*.py"))
    }
    assert set(cards.cards()) == certified


def test_kept_cards_are_of_certified_adapters() -> None:
    verdicts = {
        name: entry["verdict"]
        for card in cards.cards().values()
        for name, entry in card["certificates"].items()
    }
    assert set(verdicts.values()) == {"certified"}, verdicts


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("claims", ["SEARCH", "WAKES"]),
        ("counts", {"every adapter": {"passed": 1}}),
        ("known_failures", {"test_it": "on Tuesdays"}),
        ("verdict", "INCOMPLETE"),
        ("backend", "Oracle 23"),
        ("version", "9.9.9"),
    ],
)
def test_difference_is_told_when_a_run_finds_what_the_card_does_not_say(
    key: str, value: Any
) -> None:
    """Seen to fail with a key that `facts` leaves out."""
    kept = cards.cards()
    assert list(cards.differences(copy.deepcopy(kept), kept)) == []
    fresh = copy.deepcopy(kept)
    next(iter(fresh["workflow-core"]["certificates"].values()))[key] = value
    (told,) = cards.differences(fresh, kept)
    assert told.startswith("workflow-core: ")
    assert f"{key}: " in told


def test_figures_and_versions_of_servers_are_no_difference() -> None:
    kept = cards.cards()
    fresh = copy.deepcopy(kept)
    for card in fresh.values():
        for entry in card["certificates"].values():
            entry["timings"] = {}
            entry["backend"] = f"{cards.product(entry)} 99.1, somewhere else"
    assert list(cards.differences(fresh, kept)) == []


def test_difference_is_told_when_a_card_is_missing() -> None:
    kept = dict(cards.cards())
    fresh = {name: card for name, card in kept.items() if name != "workflow-sql"}
    assert list(cards.differences(fresh, kept)) == ["workflow-sql: a card is kept, and no other"]
