"""The base of all contracts, and how a contract defends its cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from inspect import getattr_static
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
from workflow_core.ports import Adapter, Closable

from workflow_adaptertest.env import Env
from workflow_adaptertest.facts import FACTS, facts_of
from workflow_adaptertest.samples import Samples

__all__ = ["SEED_TOLD", "Contract", "Opener", "cases_of", "check", "contract_of", "is_case"]

SEED_TOLD = pytest.StashKey[int]()
"""Where a case's seed is kept, on its item, for whom it fails."""

_OUR_PACKAGE = __name__.partition(".")[0]


class Opener(Protocol):
    """Opens one more handle on the case's data, or on another env's; closed after the case."""

    def __call__(self, env: Env | None = None) -> Any:
        """The handle."""


class Contract:
    """Cases that every adapter of a port passes.

    Derive from the contract of your port, in a class whose name begins with ``Test``, and write
    ``adapter``. Tests of your own may stand beside the cases; the cases themselves, and the
    fixtures that they use, cannot be replaced, skipped or marked.

    Attributes:
        port: what the contract is about, in words; the contracts' own.
        known_failures: cases that your adapter fails for now, each with the reason. They turn red
            on the day that they pass. A service that does not answer is no known failure.
        fake_clock: False where the adapter goes by its server's clock alone; cases in which time
            passes then really wait.
        patience: how long a case waits for what has to happen before it fails.
    """

    port: ClassVar[str] = ""
    known_failures: ClassVar[Mapping[str, str]] = {}
    fake_clock: ClassVar[bool] = True
    patience: ClassVar[timedelta] = timedelta(seconds=30)

    _settable: ClassVar[frozenset[str]] = frozenset(
        {"adapter", "operations", "known_failures", "fake_clock", "patience"}
    )

    def adapter(self, env: Env) -> AbstractContextManager[Closable]:
        """Make the adapter; entering may take as long as it needs, leaving must leave nothing.

        Called several times with one env: as many handles on the same data, each as if it were in
        a process of its own.
        """
        raise NotImplementedError(
            f"{type(self).__name__} derives from a contract and must define adapter(self, env)"
        )

    def operations(self, env: Env) -> Callable[[], int] | None:
        """A counter of what all handles made from ``env`` have asked of their service so far.

        Statements, requests, commands: whatever costs the service something. None, as here: that
        is not known, and only the CPU time of this process is held against the idle budget.
        """
        return None

    @pytest.fixture
    def contract_seed(self, request: pytest.FixtureRequest) -> int:
        """The seed of the case's random numbers; another one in each round of a race."""
        seed = int(request.config.getoption("contract_seed")) + int(getattr(request, "param", 0))
        request.node.stash[SEED_TOLD] = seed
        return seed

    @pytest.fixture
    def resting_env(self, tmp_path: Path) -> Iterator[Env]:
        """Surroundings whose clock is the real one, for cases about rest."""
        with Env(folder=tmp_path, fake_clock=False, patience=self.patience) as env:
            yield env

    @pytest.fixture
    def env(self, tmp_path: Path, contract_seed: int) -> Iterator[Env]:
        """The case's surroundings."""
        with Env(
            folder=tmp_path,
            fake_clock=self.fake_clock,
            patience=self.patience,
            seed=contract_seed,
        ) as env:
            yield env

    @pytest.fixture
    def make(self, env: Env) -> Samples:
        """Values to store and to send."""
        return Samples(env.random)

    @pytest.fixture
    def open_handle(self, env: Env) -> Iterator[Opener]:
        """Calls ``adapter``."""
        with ExitStack() as handles:
            yield lambda other=None: handles.enter_context(self.adapter(other or env))

    def test_adapter_tells_what_it_is(
        self, open_handle: Opener, env: Env, make: Samples, request: pytest.FixtureRequest
    ) -> None:
        handle = open_handle()
        adapters = self._adapters_of(handle)
        for adapter in adapters:
            told = adapter.check_health()
            assert told.strip(), "a phrase, such as 'PostgreSQL 15.4, schema 0007'"
        calls = self._basic_calls(handle, env, make)
        measured = request.config.getoption("contract_card") is not None
        request.node.stash[FACTS] = facts_of(adapters, calls, measured=measured)

    def _adapters_of(self, handle: Any) -> Sequence[Adapter]:
        """What ``adapter`` answered, one by one."""
        return [handle]

    def _basic_calls(
        self, handle: Any, env: Env, make: Samples
    ) -> Mapping[str, Callable[[], object]]:
        """What an engine calls most, by the name under which the card tells how long it takes."""
        raise NotImplementedError

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.partition(".")[0] == _OUR_PACKAGE:
            _SEALED[cls] = {name: getattr_static(cls, name) for name in dir(cls)}
        else:
            check(cls)


_SEALED: dict[type[Contract], Mapping[str, object]] = {}
"""What each contract consists of, as it was when it was defined, whatever is done to it later."""


def check(cls: type[Contract]) -> None:
    """Refuse a class that does not stand by its contract; also some time after its definition.

    Raises:
        TypeError: a case or fixture of the contract was replaced or removed, or the class declares
            what it cannot.
    """
    contract = contract_of(cls)
    for name, original in _SEALED[contract].items():
        if name in contract._settable or name.startswith("__"):
            continue
        if getattr_static(cls, name, None) is not original:
            raise TypeError(
                f"{cls.__name__}.{name} replaces what {contract.__name__} defines. If it is a"
                " case that your adapter fails, name it in known_failures with the reason; your"
                " own tests need names of their own"
            )
    if not getattr(cls, "__test__", True):
        raise TypeError(f"{cls.__name__} switches its cases off: __test__ = False")
    for case, reason in cls.known_failures.items():
        if not is_case(cls, case):
            raise TypeError(
                f"{cls.__name__}.known_failures names {case!r}, which is no case of"
                f" {contract.__name__}"
            )
        if not reason.strip():
            raise TypeError(f"{cls.__name__}.known_failures gives no reason for {case}")


def contract_of(cls: type[Contract]) -> type[Contract]:
    """The one contract that this class derives from.

    Raises:
        TypeError: there are two, or there is none.
    """
    ours = [
        base
        for base in cls.__mro__
        if issubclass(base, Contract) and base.__module__.partition(".")[0] == _OUR_PACKAGE
    ]
    outermost = [
        base
        for base in ours
        if not any(other is not base and issubclass(other, base) for other in ours)
    ]
    if len(outermost) != 1 or outermost[0] is Contract:
        names = " and ".join(base.__name__ for base in outermost)
        raise TypeError(f"{cls.__name__} derives from {names}: a class certifies one port")
    return outermost[0]


def cases_of(cls: type[Contract]) -> frozenset[str]:
    """The names of all cases of the contract that this class derives from."""
    return frozenset(name for name in _SEALED[contract_of(cls)] if name.startswith("test_"))


def is_case(cls: type[Contract], name: str) -> bool:
    """Whether the contract, and not the author of ``cls``, wrote a test of this name."""
    return name in cases_of(cls)
