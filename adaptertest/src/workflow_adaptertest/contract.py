"""The base of all contracts, and how a contract defends its cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from inspect import getattr_static
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
from workflow_core.ports import Adapter

from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import Samples

__all__ = ["Contract", "Opener", "contract_of", "is_case"]

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
        known_failures: cases that your adapter fails for now, each with the reason. They turn red
            on the day that they pass. A service that does not answer is no known failure.
        fake_clock: False where the adapter goes by its server's clock alone; cases in which time
            passes then really wait.
        patience: how long a case waits for what has to happen before it fails.
    """

    known_failures: ClassVar[Mapping[str, str]] = {}
    fake_clock: ClassVar[bool] = True
    patience: ClassVar[timedelta] = timedelta(seconds=30)

    _settable: ClassVar[frozenset[str]] = frozenset(
        {"adapter", "known_failures", "fake_clock", "patience"}
    )

    def adapter(self, env: Env) -> AbstractContextManager[Adapter]:
        """Make the adapter; entering may take as long as it needs, leaving must leave nothing.

        Called several times with one env: as many handles on the same data, each as if it were in
        a process of its own.
        """
        raise NotImplementedError(
            f"{type(self).__name__} derives from a contract and must define adapter(self, env)"
        )

    @pytest.fixture
    def env(self, tmp_path: Path) -> Iterator[Env]:
        """The case's surroundings."""
        with Env(folder=tmp_path, fake_clock=self.fake_clock, patience=self.patience) as env:
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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.partition(".")[0] == _OUR_PACKAGE:
            return
        contract = contract_of(cls)
        for name in dir(contract):
            if name in contract._settable or name.startswith("__"):
                continue
            if getattr_static(cls, name) is not getattr_static(contract, name):
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


def is_case(cls: type[Contract], name: str) -> bool:
    """Whether the contract, and not the author of ``cls``, wrote a test of this name."""
    return name.startswith("test_") and hasattr(contract_of(cls), name)
