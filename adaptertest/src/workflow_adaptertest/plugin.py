"""What pytest loads of this suite, by entry point: the guard of the contracts' cases.

Being loaded this way also makes pytest rewrite the suite's asserts, so that they show their values.

Cases can be lost at three moments, and each is watched. Until the collection has ended, whatever
was removed or replaced since the class was defined is refused, and so is what a conftest took out.
While they run, each case's outcome is written into the `Book`, whoever made it. At the end what was
expected is held against what was found. Who asks for less (-k, a node's id) gets less, and the
verdict says so.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from workflow_core.errors import AdapterUnavailableError, WorkflowError

from workflow_adaptertest.card import CARD, PAGE, card_of, write
from workflow_adaptertest.contract import SEED_TOLD, Contract, cases_of, check, is_case
from workflow_adaptertest.env import SEED
from workflow_adaptertest.facts import FACTS
from workflow_adaptertest.telling import NotApplicableError, Telling, listening
from workflow_adaptertest.threads import is_race
from workflow_adaptertest.verdict import Book, Finding, Kind
from workflow_adaptertest.versions import ContractWarning, is_ahead, mandatory_since

__all__ = ["pytest_plugins"]

# processes and locks as the servers' fixtures need them are to be had on POSIX only
pytest_plugins = ["workflow_adaptertest.servers.fixtures"] if os.name == "posix" else []

_FOREIGN = {"skip", "skipif", "xfail"}
_PARTS = ("keyword", "markexpr", "deselect", "lf", "stepwise")
"""Options by which a person asks for a part of the tests."""

_ROUNDS = 25

_BOOK = pytest.StashKey[Book]()
_MET = pytest.StashKey[dict[str, type[Contract]]]()
_TOLD = pytest.StashKey[Finding]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The suite's own options."""
    group = parser.getgroup("workflow-adaptertest")
    group.addoption(
        "--contract",
        choices=["fast", "stress"],
        default="fast",
        help=f"stress: run each race {_ROUNDS} times, each time with another seed",
    )
    group.addoption(
        "--contract-seed",
        metavar="N",
        type=int,
        default=SEED,
        help="the seed of the cases' random numbers; a case that fails tells its own",
    )
    group.addoption(
        "--contract-card",
        metavar="FOLDER",
        type=Path,
        help=f"measure the adapters' basic calls and write {CARD} and {PAGE} into FOLDER",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Opens the book."""
    parts = any(getattr(config.option, name, None) for name in _PARTS)
    config.stash[_BOOK] = Book(narrowed=parts or any("::" in word for word in config.args))
    config.stash[_MET] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Under stress, many rounds of each race."""
    stress = metafunc.config.getoption("contract") == "stress"
    if stress and is_race(metafunc.function) and "contract_seed" in metafunc.fixturenames:
        metafunc.parametrize("contract_seed", range(_ROUNDS), indirect=True)


# -- before they run ---------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> None:
    """Remembers each class that certifies something, whether pytest then collects it or not."""
    if isinstance(obj, type) and issubclass(obj, Contract) and name.startswith("Test"):
        collector.config.stash[_MET][f"{collector.nodeid}::{name}"] = obj


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Refuses what would drop a case in silence, then marks the known failures."""
    collected = list(items)
    answer = yield
    book = config.stash[_BOOK]
    problems = [*_problems_of_marks(items), *_problems_of_classes(config.stash[_MET])]
    if not book.narrowed:
        problems += _missing(config.stash[_MET], collected, items)
    if problems:
        problems.append(
            "a case that the adapter fails belongs into known_failures, with its reason; where a"
            " server is missing, call pytest.skip in adapter()"
        )
        raise pytest.UsageError("\n".join(problems))
    for item in items:
        if (cls := _class_of_case(item)) is not None:
            book.certificate(cls).awaited.add(item.nodeid)
            _mark_known_failure(item, cls)
    return answer


def _problems_of_marks(items: list[pytest.Item]) -> Generator[str]:
    for item in items:
        marks = sorted({mark.name for mark in item.iter_markers()} & _FOREIGN)
        if marks and _class_of_case(item) is not None:
            yield f"{item.nodeid} is a contract's case and carries {', '.join(marks)}"


def _problems_of_classes(met: dict[str, type[Contract]]) -> Generator[str]:
    for node, cls in met.items():
        if not _is_ours(cls):
            try:
                check(cls)
            except TypeError as problem:
                yield f"{node}: {problem}"


def _missing(
    met: dict[str, type[Contract]], collected: list[pytest.Item], left: list[pytest.Item]
) -> Generator[str]:
    """What nobody asked to be left out, and is."""
    kept = set(left)
    gone = [item.nodeid for item in collected if item not in kept and _class_of_case(item)]
    there: dict[type[Contract], set[str]] = {}
    for item in collected:
        if (cls := _class_of_case(item)) is not None:
            there.setdefault(cls, set()).add(_name(item))
    for node, cls in met.items():
        if not _is_ours(cls):
            cases = sorted(cases_of(cls) - there.get(cls, set()))
            gone += [f"{node}::{case}" for case in cases]
    if gone:
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        yield f"cases of a contract were taken out of the run: {', '.join(gone[:5])}{more}"


def _mark_known_failure(item: pytest.Item, cls: type[Contract]) -> None:
    reason = cls.known_failures.get(_name(item))
    if reason is not None:
        item.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))


# -- while they run ----------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Hears what a case tells, and makes an error that it did not expect a failure of the case.

    A service that does not answer stays an error of another kind: it says nothing of the adapter.
    """
    if _class_of_case(pyfuncitem) is None:
        return (yield)
    with listening() as telling:
        try:
            answer = yield
        except NotApplicableError as left_out:
            return _leave_out(pyfuncitem, telling, str(left_out))
        except (Exception, pytest.fail.Exception) as error:
            if telling.tried and telling.capability is not None:
                why = f"{telling.capability.name} is not claimed"
                return _leave_out(pyfuncitem, telling, why)
            if is_ahead(pyfuncitem.obj) and not isinstance(error, AdapterUnavailableError):
                return _warn(pyfuncitem, telling, error)
            if isinstance(error, WorkflowError) and not isinstance(error, AdapterUnavailableError):
                raise AssertionError(
                    f"the adapter raised {type(error).__name__} where the contract has none:"
                    f" {error}"
                ) from error
            raise
        finally:
            if _TOLD not in pyfuncitem.stash:
                kind = Kind.WORKS_UNCLAIMED if telling.tried else Kind.PASSED
                case = _name(pyfuncitem)
                pyfuncitem.stash[_TOLD] = Finding(case, kind, telling.capability)
        return answer


def _leave_out(item: pytest.Function, telling: Telling, why: str) -> bool:
    item.stash[_TOLD] = Finding(
        _name(item), Kind.NOT_APPLICABLE, telling.capability, why, untried=telling.untried
    )
    return True


def _warn(item: pytest.Function, telling: Telling, error: BaseException) -> bool:
    contract = ".".join(map(str, mandatory_since(item.obj)))
    reason = str(error).partition("\n")[0] or type(error).__name__
    why = f"mandatory from contract {contract} on: {reason}"
    item.stash[_TOLD] = Finding(_name(item), Kind.WARNED, telling.capability, why)
    item.warn(ContractWarning(f"{item.nodeid}: {why}"))
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Writes into the book what came of a case, after all others have had their say."""
    report = yield
    cls = _class_of_case(item)
    if cls is not None:
        certificate = item.config.stash[_BOOK].certificate(cls)
        certificate.facts = item.stash.get(FACTS, certificate.facts)
        if (finding := _finding(item, cls, report)) is not None:
            certificate.findings[item.nodeid] = finding
        if report.failed:
            report.sections.append(("how to run it alone", _alone(item)))
    return report


def _alone(item: pytest.Item) -> str:
    options = item.config.option
    stress = " --contract=stress" if options.contract == "stress" else ""
    told = f"seed {item.stash.get(SEED_TOLD, options.contract_seed)}: python -m pytest "
    return f'{told}"{item.nodeid}"{stress} --contract-seed={options.contract_seed}'


def _finding(item: pytest.Item, cls: type[Contract], report: pytest.TestReport) -> Finding | None:
    case = _name(item)
    told = item.stash.get(_TOLD, Finding(case, Kind.PASSED))
    if report.failed:
        return Finding(case, Kind.FAILED, told.capability)
    if report.skipped and hasattr(report, "wasxfail"):
        reason = cls.known_failures.get(case)
        if reason is not None:
            return Finding(case, Kind.KNOWN_FAILURE, told.capability, reason)
        return Finding(case, Kind.EXCUSED, told.capability, str(report.wasxfail))
    if report.skipped:
        why = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        return Finding(case, Kind.SKIPPED, told.capability, str(why))
    return told if report.when == "call" else None


# -- when all have run -------------------------------------------------------------------------


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Writes the card, and turns the run red when cases were dropped and no test says so."""
    broken_off = session.shouldstop or session.shouldfail or session.config.option.collectonly
    folder = session.config.getoption("contract_card")
    certificates = session.config.stash[_BOOK].told()
    if folder is not None and certificates:
        write(card_of(certificates), folder)
    complaints = session.config.stash[_BOOK].complaints()
    if complaints and exitstatus == pytest.ExitCode.OK and not broken_off:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tells the verdict."""
    book = config.stash[_BOOK]
    certificates = book.told()
    if not certificates:
        return
    terminalreporter.section("verdict of workflow-adaptertest")
    for certificate in certificates:
        for line in certificate.lines():
            terminalreporter.write_line(line)
    for name, complaint in book.complaints().items():
        terminalreporter.write_line(f"{name}: {complaint}", red=True)


def _class_of_case(item: pytest.Item) -> type[Contract] | None:
    cls = getattr(item, "cls", None)
    if not isinstance(cls, type) or not issubclass(cls, Contract) or _is_ours(cls):
        return None
    return cls if is_case(cls, _name(item)) else None


def _is_ours(cls: type[Contract]) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _name(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name))
