"""The card of an adapter: what the suite found, to be published beside it.

`conformance.json` is for machines, `conformance.md` says the same to people. A card tells what it
was made with, so that a reader can repeat it, and leaves nothing out: an incomplete run makes an
incomplete card.
"""

from __future__ import annotations

import importlib.metadata as metadata
import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_adaptertest.verdict import Certificate, Kind
from workflow_adaptertest.versions import contract_version

__all__ = ["CARD", "PAGE", "card_of", "page_of", "write"]

CARD = "conformance.json"
PAGE = "conformance.md"
FORMAT = 1
"""Of the file; grows when a reader has to change."""

_EVERY = "every adapter"


# -- the card ----------------------------------------------------------------------------------


def card_of(certificates: Iterable[Certificate]) -> dict[str, Any]:
    """The card as it stands in the file."""
    return {
        "format": FORMAT,
        "suite": metadata.version("workflow-adaptertest"),
        "contract": ".".join(map(str, contract_version())),
        "core": metadata.version("workflow-core"),
        "python": platform.python_version(),
        "certificates": {
            each.cls.__name__: _entry(each)
            for each in sorted(certificates, key=lambda each: each.cls.__name__)
        },
    }


def _entry(certificate: Certificate) -> dict[str, Any]:
    facts = certificate.facts
    counts: dict[str, Counter[str]] = {}
    for finding in certificate.findings.values():
        about = finding.capability.name if finding.capability else _EVERY
        counts.setdefault(about, Counter())[finding.kind.value] += 1
    return {
        "port": certificate.cls.port,
        "verdict": certificate.verdict.value,
        "adapter": facts.adapter if facts else "",
        "distribution": facts.distribution if facts else "",
        "version": facts.version if facts else "",
        "backend": facts.backend if facts else "",
        "claims": list(facts.claims) if facts else [],
        "counts": {about: dict(sorted(counts[about].items())) for about in sorted(counts)},
        "works_unclaimed": [each.name for each in certificate.works_unclaimed()],
        "known_failures": {f.case: f.why for f in certificate.of(Kind.KNOWN_FAILURE)},
        "will_be_mandatory": {f.case: f.why for f in certificate.of(Kind.WARNED)},
        "not_applicable": dict(Counter(f.why for f in certificate.of(Kind.NOT_APPLICABLE))),
        "failed": sorted(f.case for f in certificate.of(Kind.FAILED)),
        "not_run": list(certificate.not_run()),
        "skipped": dict(Counter(f.why for f in certificate.of(Kind.SKIPPED))),
        "timings": {
            told: {"calls": it.calls, "p50_us": it.p50_us, "p99_us": it.p99_us}
            for told, it in (facts.timings if facts else {}).items()
        },
    }


def write(card: Mapping[str, Any], folder: Path) -> None:
    """Put both files into the folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(card, indent=2, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page_of(card), encoding="utf-8")


# -- the page ----------------------------------------------------------------------------------


def page_of(card: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    return "\n".join(_page(card)) + "\n"


def _page(card: Mapping[str, Any]) -> Iterator[str]:
    yield "# Conformance"
    yield ""
    yield (
        f"By contract {card['contract']} of workflow-adaptertest {card['suite']} with"
        f" workflow-core {card['core']} on Python {card['python']}."
    )
    for name, entry in card["certificates"].items():
        yield from ["", f"## {name}", "", f"**{entry['verdict']}** as {entry['port']}.", ""]
        wheel = f"{entry['distribution']} {entry['version']}".strip() or "no wheel"
        yield f"- adapter: `{entry['adapter']}` of {wheel}"
        yield f"- back end: {_cell(entry['backend'])}"
        yield f"- claims: {', '.join(entry['claims']) or 'nothing beyond the contract'}"
        for capability in entry["works_unclaimed"]:
            yield f"- works though not claimed: {capability}"
        for case, why in entry["known_failures"].items():
            yield f"- known failure: `{case}`: {why}"
        for case, why in entry["will_be_mandatory"].items():
            yield f"- fails for now: `{case}`: {why}"
        for case in entry["failed"]:
            yield f"- FAILED: `{case}`"
        for why, count in entry["skipped"].items():
            yield f"- skipped, {count}: {why}"
        if entry["not_run"]:
            yield f"- not run: {len(entry['not_run'])} cases"
        kinds = sorted({kind for counts in entry["counts"].values() for kind in counts})
        yield ""
        yield from _table(
            ["cases about", *kinds],
            [
                [about, *(str(counts.get(kind, 0)) for kind in kinds)]
                for about, counts in entry["counts"].items()
            ],
        )
        if entry["timings"]:
            yield ""
            yield from _table(
                ["call", "calls", "p50", "p99"],
                [
                    [told, str(it["calls"]), f"{it['p50_us']} µs", f"{it['p99_us']} µs"]
                    for told, it in entry["timings"].items()
                ],
            )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Without what would end a cell of the table, or a line."""
    return text.replace("|", "\\|").replace("\n", " ")
