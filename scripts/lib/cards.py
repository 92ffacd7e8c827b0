"""The cards of our own adapters, and the table of the docs that is built from them.

`docs/cards/` holds one card a wheel, as the suite wrote it on one machine. What varies with the
machine (figures, versions of servers and of Python) is told but never compared.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.members import ROOT

CARDS = ROOT / "docs" / "cards"
PAGE = ROOT / "docs" / "adapters.md"
BEGIN, END = "<!-- from the cards: scripts/cards writes this -->\n", "<!-- end of the cards -->\n"
CARD = "conformance.json"

Card = Mapping[str, Any]

VERSIONS = ("suite", "contract", "core")
FIXED = (
    *("port", "verdict", "adapter", "distribution", "version", "claims", "counts"),
    *(
        "works_unclaimed",
        "known_failures",
        "will_be_mandatory",
        "not_applicable",
        "failed",
        "not_run",
        "skipped",
    ),
)


def cards(folder: Path = CARDS) -> dict[str, Card]:
    """By wheel: the kept ones, or those that a run has just written, a folder a wheel."""
    kept = {file.stem: file for file in sorted(folder.glob("*.json"))}
    fresh = {file.parent.name: file for file in sorted(folder.glob(f"*/{CARD}"))}
    return {name: json.loads(file.read_text("utf-8")) for name, file in (kept | fresh).items()}


def facts(card: Card) -> dict[str, Any]:
    """What is the same on every machine."""
    certificates = {
        name: {key: entry[key] for key in FIXED} | {"backend": product(entry)}
        for name, entry in card["certificates"].items()
    }
    return {**{key: card[key] for key in VERSIONS}, "certificates": certificates}


def product(entry: Mapping[str, Any]) -> str:
    """The back end without its version."""
    return str(entry["backend"]).replace(",", " ").split()[0]


def differences(fresh: Mapping[str, Card], kept: Mapping[str, Card]) -> Iterator[str]:
    """What the kept cards say and a run has found otherwise."""
    for name in sorted(set(fresh) ^ set(kept)):
        yield f"{name}: {'a card is kept' if name in kept else 'a card was made'}, and no other"
    for name in sorted(set(fresh) & set(kept)):
        found, told = facts(fresh[name]), facts(kept[name])
        for key in VERSIONS:
            if found[key] != told[key]:
                yield f"{name}: {key} is {found[key]}, the card says {told[key]}"
        classes = sorted({*found["certificates"], *told["certificates"]})
        for cls in classes:
            here, there = found["certificates"].get(cls, {}), told["certificates"].get(cls, {})
            for key in sorted({*here, *there}):
                if here.get(key) != there.get(key):
                    yield f"{name}: {cls}: {key}: {here.get(key)}; the card: {there.get(key)}"


def table(kept: Mapping[str, Card]) -> str:
    """The table of the docs."""
    rows = [row for name, card in sorted(kept.items()) for row in _rows(name, card)]
    heads = ("adapter", "back end", "wheel", "claims", "cases", "known failures", "p50 / p99")
    lines = [heads, tuple("---" for _ in heads), *sorted(rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _rows(name: str, card: Card) -> Iterator[tuple[str, ...]]:
    for entry in card["certificates"].values():
        names = [adapter.rpartition(".")[2] for adapter in entry["adapter"].split(" + ")]
        passed = sum(counts.get("passed", 0) for counts in entry["counts"].values())
        failures = "; ".join(f"{case}: {why}" for case, why in entry["known_failures"].items())
        timings = "<br>".join(
            f"{told}: {_time(it['p50_us'])} / {_time(it['p99_us'])}"
            for told, it in entry["timings"].items()
        )
        yield (
            f"`{' + '.join(names)}`, {entry['port']}",
            entry["backend"].partition(",")[0],
            f"{name} {entry['version']}",
            ", ".join(entry["claims"]) or "nothing",
            f"{entry['verdict']}, {passed}",
            failures or "none",
            timings,
        )


def _time(microseconds: int) -> str:
    if microseconds < 1000:
        return f"{microseconds} µs"
    return f"{microseconds / 1000:.1f} ms"


def page(text: str, kept: Mapping[str, Card]) -> str:
    """The page with the table of these cards in it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(kept)}\n{END}{after}"


def keep(fresh: Path) -> None:
    """Take what a run has written as the cards, and build the page."""
    CARDS.mkdir(exist_ok=True)
    for name in cards(fresh):
        shutil.copy(fresh / name / CARD, CARDS / f"{name}.json")
    PAGE.write_text(page(PAGE.read_text("utf-8"), cards()), encoding="utf-8")


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
