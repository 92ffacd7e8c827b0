"""What an adapter is, and how long its basic calls take: asked by one case of each contract."""

from __future__ import annotations

import importlib.metadata as metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from workflow_core.ports import Adapter

__all__ = ["FACTS", "Facts", "Timing", "facts_of"]

_CALLS = 200
_SECONDS = 0.2  # for each kind of call: a card is to cost seconds, not minutes


@dataclass(frozen=True)
class Timing:
    """How long one kind of call took, one after the other, from one thread.

    Attributes:
        calls: how many were made.
        p50_us: the median, in microseconds.
        p99_us: all but one in a hundred were quicker; with less than a hundred calls the slowest.
    """

    calls: int
    p50_us: int
    p99_us: int


@dataclass(frozen=True)
class Facts:
    """What an adapter is, as its handle tells.

    Attributes:
        adapter: module and name of its class.
        distribution: the wheel that it came in, and its version; empty where none is installed.
        backend: the adapter's own words for what it speaks to: its phrase of health.
        claims: names of the capabilities.
        timings: by kind of call.
    """

    adapter: str
    distribution: str
    version: str
    backend: str
    claims: tuple[str, ...]
    timings: Mapping[str, Timing]


FACTS = pytest.StashKey[Facts]()
"""Where the case that asks for them leaves them, on its item."""


def facts_of(
    adapters: Sequence[Adapter], calls: Mapping[str, Callable[[], object]], *, measured: bool
) -> Facts:
    """Ask the adapter what it is, or several that are certified together.

    Args:
        adapters: mostly one.
        calls: their basic calls, each to be made any number of times.
        measured: make them often enough to measure them; else once.
    """
    kinds = [type(adapter) for adapter in adapters]
    wheels = [_distribution(kind.__module__.partition(".")[0]) for kind in kinds]
    claims = {capability.name for adapter in adapters for capability in adapter.capabilities}
    return Facts(
        adapter=" + ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds),
        distribution=" + ".join(dict.fromkeys(name for name, _ in wheels)),
        version=" + ".join(dict.fromkeys(version for _, version in wheels)),
        backend="; ".join(dict.fromkeys(adapter.check_health() for adapter in adapters)),
        claims=tuple(sorted(claims)),
        timings={told: _timing(call, measured) for told, call in calls.items()},
    )


def _timing(call: Callable[[], object], measured: bool) -> Timing:
    call()  # the first one connects, and prepares what later ones find ready
    took: list[float] = []
    end = time.perf_counter() + _SECONDS
    while not took or (measured and len(took) < _CALLS and time.perf_counter() < end):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    took.sort()
    p50, p99 = (took[int(part * (len(took) - 1) + 0.5)] for part in (0.5, 0.99))
    return Timing(calls=len(took), p50_us=round(p50 * 1e6), p99_us=round(p99 * 1e6))


def _distribution(package: str) -> tuple[str, str]:
    """The wheel's name and version; an editable install tells no packages, only its name."""
    names = metadata.packages_distributions().get(package) or [package.replace("_", "-")]
    try:
        found = metadata.distribution(names[0])
    except metadata.PackageNotFoundError:
        return "", ""
    return found.name, found.version
