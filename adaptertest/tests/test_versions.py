"""The contract is tied to core's version, and a new case warns before it fails."""

import importlib.metadata as metadata

import pytest
import workflow_adaptertest
from workflow_adaptertest import Contract, TimeoutStoreContract, versions
from workflow_adaptertest.contract import cases_of

pytest_plugins = ["pytester"]

CASE = "test_timer_is_due_at_once_when_it_has_no_delay"
CONTRACTS = [
    value
    for value in vars(workflow_adaptertest).values()
    if isinstance(value, type) and issubclass(value, Contract) and value is not Contract
]
LATE = """
    from workflow_adaptertest import TimeoutStoreContract
    from workflow_core.errors import AdapterUnavailableError
    from workflow_core.memory import MemoryDatabase, MemoryTimeoutStore

    class Late(MemoryTimeoutStore):
        def list_valid(self, workflows, *, limit):
            return super().list_valid(workflows, limit=limit)[1:]

    class TestLate(TimeoutStoreContract):
        def adapter(self, env):
            return Late(env.shared("database", lambda: MemoryDatabase(env.clock)))
"""


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The case is new: mandatory from the contract after this one."""
    major, minor = versions.contract_version()
    case = getattr(TimeoutStoreContract, CASE)
    monkeypatch.setattr(case, versions._FROM, (major, minor + 1), raising=False)


def run(pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(code)
    base = ["-p", "no:randomly", "-k", CASE, "-W", "default"]
    return pytester.runpytest_inprocess(*base, *options)


def test_contract_has_the_first_two_numbers_of_the_core_that_it_is_tied_to() -> None:
    """Seen to fail when one of the two is bumped alone."""
    assert versions.contract_version() == versions.parsed(metadata.version("workflow-core"))


def test_new_case_warns_and_stands_in_the_verdict_when_it_fails(
    pytester: pytest.Pytester, ahead: None
) -> None:
    """Seen to fail without the branch: the case of the next contract turns an adapter red."""
    result = run(pytester, LATE)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*ContractWarning: *mandatory from contract * on: *",
            f"  fails what will be mandatory: {CASE}: mandatory from contract * on: *",
        ]
    )


def test_new_case_is_red_when_its_contract_has_come(pytester: pytest.Pytester) -> None:
    run(pytester, LATE).assert_outcomes(failed=1)


def test_new_case_is_no_warning_when_it_passes(pytester: pytest.Pytester, ahead: None) -> None:
    run(pytester, LATE.replace("[1:]", "")).assert_outcomes(passed=1, warnings=0)


def test_new_case_is_an_error_when_the_service_does_not_answer(
    pytester: pytest.Pytester, ahead: None
) -> None:
    down = LATE.replace("return super", 'raise AdapterUnavailableError("no answer")\n        #')
    run(pytester, down).assert_outcomes(failed=1)


def test_author_may_have_the_warning_as_an_error(pytester: pytest.Pytester, ahead: None) -> None:
    filtered = ["-W", "error::workflow_adaptertest.ContractWarning"]
    assert run(pytester, LATE, *filtered).ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_no_case_is_announced_for_longer_than_one_release(contract: type[Contract]) -> None:
    """Seen to fail with a case announced for the present contract, or the one after next."""
    major, minor = versions.contract_version()
    for name in cases_of(contract):
        since = versions.mandatory_since(getattr(contract, name))
        assert since in {(0, 0), (major, minor + 1), (major + 1, 0)}, name
