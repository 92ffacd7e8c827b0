"""Whatever drops a case after its class was defined turns the run red, or stands in the verdict."""

import ast
from pathlib import Path

import pytest
import workflow_adaptertest
from workflow_adaptertest import Contract, TimeoutStoreContract, idle

pytest_plugins = ["pytester"]

CASE = "test_store_keeps_the_record_when_it_is_new"
SEARCHING = "test_texts_are_told_apart_when_they_look_alike"
SOUND = """
    from datetime import timedelta
    import pytest
    from workflow_adaptertest import *
    from workflow_core.errors import *
    from workflow_core.memory import MemoryDatabase, MemoryRecordStore, MemoryTimeoutStore
    from workflow_core.ports import Capability

    class TestSound(TimeoutStoreContract):
        def adapter(self, env):
            database = env.shared("database", lambda: MemoryDatabase(env.clock))
            return MemoryTimeoutStore(database)

    class TestStore(RecordStoreContract):
        kind = MemoryRecordStore
        def adapter(self, env):
            return self.kind(env.shared("database", lambda: MemoryDatabase(env.clock)))

"""
ONE = "test_health_is_a_phrase_when_all_is_well"


@pytest.fixture(autouse=True)
def _quick_idle_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """What costs seconds of each run has nothing to do with these tests."""
    monkeypatch.setattr(idle, "_WINDOW", 0.01)
    monkeypatch.setattr(idle, "_CPU", 100)


def run(
    pytester: pytest.Pytester, code: str = "", *arguments: str, conftest: str = ""
) -> pytest.RunResult:
    pytester.makeconftest(conftest)
    pytester.makepyfile(SOUND + code)
    return pytester.runpytest_inprocess("-p", "no:randomly", *arguments)


# -- until the collection has ended ------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        f"TestSound.{ONE} = None",
        f"TestSound.{ONE} = lambda self: None",
        "TestSound.timers = pytest.fixture(lambda self: None)",
        "TestSound.known_failures = {'test_nothing': 'gone'}",
        "TestSound.__test__ = False",
    ],
)
def test_run_is_refused_when_a_class_is_changed_after_its_definition(
    pytester: pytest.Pytester, change: str
) -> None:
    """Seen to fail without `check` at the end of the collection: only __init_subclass__ looked."""
    result = run(pytester, f"    {change}\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*TestSound*"])


@pytest.mark.parametrize("there", [TimeoutStoreContract, *TimeoutStoreContract.__bases__])
def test_run_is_refused_when_the_contract_itself_was_changed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, there: type[Contract]
) -> None:
    """Seen to fail when a class is held against the contract as it is, not as it was defined."""
    owner = there if ONE in vars(there) else TimeoutStoreContract
    monkeypatch.setattr(owner, ONE, lambda self: None)
    assert run(pytester).ret in {pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED}


def test_class_is_refused_when_its_subclass_replaces_a_case(pytester: pytest.Pytester) -> None:
    code = f"""
    class TestMore(TestSound):
        def {ONE}(self):
            pass
    """
    result = run(pytester, code)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*TypeError: TestMore.{ONE} replaces*"])


def test_run_is_refused_when_a_class_cannot_be_collected(pytester: pytest.Pytester) -> None:
    """Pytest only warns of it. Seen to fail when the classes met are not remembered."""
    code = """
    class TestOther(TestSound):
        def __init__(self):
            pass
    """
    result = run(pytester, code)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*taken out of the run: *TestOther::test_*"])


@pytest.mark.parametrize("when", ["tryfirst=True", "trylast=True"])
def test_run_is_refused_when_a_conftest_takes_cases_out(
    pytester: pytest.Pytester, when: str
) -> None:
    """Seen to fail when the items are looked at without those that were collected."""
    conftest = f"""
    import pytest

    @pytest.hookimpl({when})
    def pytest_collection_modifyitems(items):
        items[:] = [item for item in items if item.name != "{ONE}"]
    """
    result = run(pytester, conftest=conftest)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*taken out of the run: *{ONE}*"])


def test_run_is_refused_when_a_conftest_takes_one_parameter_out(pytester: pytest.Pytester) -> None:
    conftest = """
    def pytest_collection_modifyitems(items):
        items.remove(next(item for item in items if "large[-1]" in item.name))
    """
    result = run(pytester, conftest=conftest)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*taken out of the run: *large?-1?*"])


# -- while they run ----------------------------------------------------------------------------


def test_run_turns_red_when_a_conftest_does_not_run_a_case(pytester: pytest.Pytester) -> None:
    """Seen to fail when nothing is looked at after the run."""
    conftest = f"""
    def pytest_runtest_protocol(item):
        return True if item.name == "{ONE}" and item.cls.__name__ == "TestSound" else None
    """
    result = run(pytester, conftest=conftest)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"TestSound: collected, but never run: {ONE}"])


@pytest.mark.parametrize(
    "excuse",
    ["request.applymarker(pytest.mark.xfail(reason='slow'))", "pytest.xfail('slow')"],
)
def test_run_turns_red_when_a_case_is_excused_while_it_runs(
    pytester: pytest.Pytester, excuse: str
) -> None:
    """Seen to fail without the kind EXCUSED: an expected failure looks like a known one."""
    conftest = f"""
    import pytest

    @pytest.fixture(autouse=True)
    def excuses(request):
        if request.node.name == "{ONE}":
            {excuse}
    """
    code = """
    class TestUnwell(TestSound):
        def adapter(self, env):
            adapter = super().adapter(env)
            adapter.check_health = lambda: ""
            return adapter
    """
    result = run(pytester, code, conftest=conftest)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["TestUnwell (timeout store): FAILED: *", f"*excused, and no known failure: {ONE}: *slow"]
    )


# -- what the verdict says ---------------------------------------------------------------------


def test_verdict_is_certified_when_all_cases_were_run(pytester: pytest.Pytester) -> None:
    result = run(pytester)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "TestSound (timeout store): certified: * passed, * not applicable",
            "  not applicable, *: it joins no store's transactions",
            "TestStore (record store): certified: *",
        ]
    )


@pytest.mark.parametrize(
    "arguments",
    [["-k", f"{ONE} and Sound"], ["-m", "not here", "--deselect", "x"], ["NODE"]],
    ids=["-k", "-m", "node"],
)
def test_verdict_is_incomplete_when_a_part_was_asked_for(
    pytester: pytest.Pytester, arguments: list[str]
) -> None:
    node = f"test_verdict_is_incomplete_when_a_part_was_asked_for.py::TestSound::{ONE}"
    if "-m" in arguments:
        conftest = f"""
    import pytest
    def pytest_configure(config):
        config.addinivalue_line("markers", "here: here")
    def pytest_itemcollected(item):
        if item.name != "{ONE}":
            item.add_marker("here")
        """
    else:
        conftest = ""
    arguments = [node if word == "NODE" else word for word in arguments]
    result = run(pytester, "", *arguments, conftest=conftest)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["TestSound (timeout store): INCOMPLETE: 1 passed, * of * cases not run"]
    )


def test_verdict_lists_skips_when_the_adapter_skips(pytester: pytest.Pytester) -> None:
    code = """
    class TestAway(TestSound):
        def adapter(self, env):
            pytest.skip("no server here")
    """
    result = run(pytester, code)
    result.stdout.fnmatch_lines(
        ["TestAway (timeout store): INCOMPLETE: * skipped", "*skipped, *: *no server here"]
    )


def test_verdict_counts_apart_what_a_capability_leaves_out(pytester: pytest.Pytester) -> None:
    """Seen to fail with a case that returns where the capability is not claimed."""
    code = """
    class Plain(MemoryRecordStore):
        capabilities = frozenset({Capability.SEARCH})
        def transaction(self):
            raise NotSupportedError("it lends none")

    class TestPlain(TestStore):
        kind = Plain
    """
    result = run(pytester, code, "-k", "TestPlain and (transaction or search)")
    result.stdout.fnmatch_lines(["*not applicable, *: TRANSACTIONS is not claimed"])


def test_verdict_reports_what_works_though_it_is_not_claimed(pytester: pytest.Pytester) -> None:
    """Seen to fail when what is not claimed is not tried."""
    code = """
    class Modest(MemoryRecordStore):
        capabilities = MemoryRecordStore.capabilities.fget(
            MemoryRecordStore(MemoryDatabase())) - {Capability.SEARCH}

    class TestModest(TestStore):
        kind = Modest
    """
    result = run(pytester, code, "-k", "TestModest")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*SEARCH is not claimed, but all its cases pass: claim it"])


def test_verdict_reports_what_works_when_a_part_of_it_is_not_to_be_tried(
    pytester: pytest.Pytester,
) -> None:
    """Seen to fail when a case that was not tried counts as one that does not work."""
    code = """
    class Modest(MemoryRecordStore):
        capabilities = MemoryRecordStore.capabilities.fget(
            MemoryRecordStore(MemoryDatabase())) - {Capability.CLAIMS}

    class TestModest(TestStore):
        kind = Modest
    """
    result = run(pytester, code, "-k", "TestModest")
    result.stdout.fnmatch_lines(
        ["  not applicable, 1: CLAIMS is not claimed", "  CLAIMS is not claimed, but all *"]
    )


def test_run_turns_red_when_a_capability_is_claimed_and_does_not_work(
    pytester: pytest.Pytester,
) -> None:
    code = """
    class Boasting(MemoryRecordStore):
        def list_records(self, query):
            return super().list_records(query.replace(search={}))

    class TestBoasting(TestStore):
        kind = Boasting
    """
    result = run(pytester, code, "-k", f"TestBoasting and {SEARCHING}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["TestBoasting (record store): FAILED: 1 failed, *"])


def test_no_case_returns_early() -> None:
    """Seen to fail with the cases as they were: a capability not claimed passed in silence."""
    source = Path(workflow_adaptertest.__file__).parent
    early: list[str] = []
    for file in source.rglob("*.py"):
        for case in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(case, ast.FunctionDef) and case.name.startswith("test_"):
                early += [
                    f"{file.name}: {case.name}"
                    for branch in case.body
                    if isinstance(branch, ast.If)
                    for node in ast.walk(branch)
                    if isinstance(node, ast.Return) and node is branch.body[0]
                ]
    assert early == [], "say needs() or not_applicable(), so that the verdict counts it apart"
