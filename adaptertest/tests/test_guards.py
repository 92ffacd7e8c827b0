"""The contracts defend their cases: none is dropped, replaced or excused in silence."""

from contextlib import AbstractContextManager
from types import SimpleNamespace

import pytest
from workflow_adaptertest import Contract, Env, RecordStoreContract, TimeoutStoreContract
from workflow_core.memory import MemoryDatabase, MemoryRecordStore
from workflow_core.ports import RecordStore

pytest_plugins = ["pytester"]

CASE = "test_store_keeps_the_record_when_it_is_new"
CLEAN = """
    from datetime import timedelta
    import pytest
    from workflow_adaptertest import *
    from workflow_core.errors import *
    from workflow_core.memory import MemoryDatabase, MemoryRecordStore

    def memory(env, kind=MemoryRecordStore):
        return kind(env.shared("database", lambda: MemoryDatabase(env.clock)))

"""


class Mixin:
    """Of an author's own: a replaced case hides in it."""

    def test_store_keeps_the_record_when_it_is_new(self) -> None:
        pass


class Honest(RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[RecordStore]:
        return MemoryRecordStore(MemoryDatabase(env.clock))


def run(
    pytester: pytest.Pytester, code: str, *arguments: str, conftest: str = ""
) -> pytest.RunResult:
    pytester.makeconftest(conftest)
    pytester.makepyfile(CLEAN + code)
    return pytester.runpytest_inprocess("-p", "no:randomly", *arguments)


# -- at the definition -------------------------------------------------------------------------


def test_class_is_refused_when_it_replaces_a_case() -> None:
    with pytest.raises(TypeError, match=f"TestShelf.{CASE} replaces .*known_failures"):
        type("TestShelf", (Honest,), {CASE: lambda self: None})


def test_class_is_refused_when_it_removes_a_case() -> None:
    with pytest.raises(TypeError, match=f"TestShelf.{CASE} replaces"):
        type("TestShelf", (Honest,), {CASE: None})


def test_class_is_refused_when_a_mixin_replaces_a_case() -> None:
    """Seen to fail with a guard that looks at the class's own attributes alone."""
    with pytest.raises(TypeError, match=f"TestShelf.{CASE} replaces"):
        type("TestShelf", (Mixin, Honest), {})


def test_class_is_refused_when_it_replaces_a_fixture_of_the_contract() -> None:
    with pytest.raises(TypeError, match=r"TestShelf\.store replaces"):
        type("TestShelf", (Honest,), {"store": pytest.fixture(lambda self: SimpleNamespace())})


def test_class_is_refused_when_it_derives_from_two_contracts() -> None:
    with pytest.raises(TypeError, match="a class certifies one port"):
        type("TestShelf", (RecordStoreContract, TimeoutStoreContract), {})


def test_class_is_refused_when_it_derives_from_no_contract() -> None:
    with pytest.raises(TypeError, match="a class certifies one port"):
        type("TestShelf", (Contract,), {})


def test_class_is_refused_when_it_switches_its_cases_off() -> None:
    with pytest.raises(TypeError, match="__test__ = False"):
        type("TestShelf", (Honest,), {"__test__": False})


@pytest.mark.parametrize("name", ["test_nonsense", "adapter", "test_of_the_author"])
def test_class_is_refused_when_a_known_failure_is_no_case(name: str) -> None:
    body = {"known_failures": {name: "why not"}, "test_of_the_author": lambda self: None}
    with pytest.raises(TypeError, match=f"names '{name}', which is no case of RecordStoreContract"):
        type("TestShelf", (Honest,), body)


def test_class_is_refused_when_a_known_failure_has_no_reason() -> None:
    with pytest.raises(TypeError, match=f"no reason for {CASE}"):
        type("TestShelf", (Honest,), {"known_failures": {CASE: " "}})


def test_class_is_taken_when_it_has_tests_and_helpers_of_its_own() -> None:
    body = {"test_of_the_author": lambda self: None, "helper": lambda self: None, "patience": 1}
    assert issubclass(type("TestShelf", (Honest,), body), RecordStoreContract)


# -- in a run ----------------------------------------------------------------------------------


def test_known_failure_is_expected_when_the_case_fails(pytester: pytest.Pytester) -> None:
    code = f"""
    class Broken(MemoryRecordStore):
        def lookup(self, run_id):
            return super().lookup(run_id).replace(data=b"broken")

    class TestBroken(RecordStoreContract):
        known_failures = {{"{CASE}": "data is lost on Tuesdays"}}
        def adapter(self, env):
            return memory(env, Broken)
    """
    result = run(pytester, code, "-k", CASE, "-rx")
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(["*data is lost on Tuesdays*"])


def test_known_failure_turns_red_when_the_case_passes(pytester: pytest.Pytester) -> None:
    code = f"""
    class TestSound(RecordStoreContract):
        known_failures = {{"{CASE}": "fixed since"}}
        def adapter(self, env):
            return memory(env)
    """
    run(pytester, code, "-k", CASE).assert_outcomes(failed=1)


def test_known_failure_is_an_error_when_the_service_does_not_answer(
    pytester: pytest.Pytester,
) -> None:
    code = f"""
    class Down(MemoryRecordStore):
        def store_many(self, writes):
            raise AdapterUnavailableError("no answer")

    class TestDown(RecordStoreContract):
        known_failures = {{"{CASE}": "data is lost on Tuesdays"}}
        def adapter(self, env):
            return memory(env, Down)
    """
    run(pytester, code, "-k", CASE).assert_outcomes(failed=1)


def test_known_failure_is_expected_when_the_adapter_raises_what_is_not_due(
    pytester: pytest.Pytester,
) -> None:
    """Seen to fail without the plugin's conversion: only an AssertionError is expected."""
    code = f"""
    class Refusing(MemoryRecordStore):
        def store_many(self, writes):
            raise NotSupportedError("not on Tuesdays")

    class TestRefusing(RecordStoreContract):
        known_failures = {{"{CASE}": "cannot store"}}
        def adapter(self, env):
            return memory(env, Refusing)
    """
    run(pytester, code, "-k", CASE).assert_outcomes(xfailed=1)


@pytest.mark.parametrize(
    "mark", ["skip", "skipif(True, reason='no')", "xfail"], ids=["skip", "skipif", "xfail"]
)
def test_run_is_refused_when_a_mark_would_drop_cases(pytester: pytest.Pytester, mark: str) -> None:
    code = f"""
    @pytest.mark.{mark}
    class TestMarked(RecordStoreContract):
        def adapter(self, env):
            return memory(env)
    """
    result = run(pytester, code)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{CASE}*carries {mark.partition('(')[0]}*"])


def test_run_is_refused_when_a_conftest_skips_cases(pytester: pytest.Pytester) -> None:
    code = """
    class TestMarked(RecordStoreContract):
        def adapter(self, env):
            return memory(env)
    """
    conftest = """
    import pytest

    def pytest_collection_modifyitems(items):
        items[0].add_marker(pytest.mark.skip(reason="slow"))
    """
    assert run(pytester, code, conftest=conftest).ret == pytest.ExitCode.USAGE_ERROR


def test_own_tests_may_be_marked_when_they_stand_beside_the_cases(
    pytester: pytest.Pytester,
) -> None:
    code = """
    class TestSound(RecordStoreContract):
        def adapter(self, env):
            return memory(env)

        @pytest.mark.skip(reason="later")
        def test_of_the_author(self, store):
            pass
    """
    run(pytester, code, "-k", f"test_of_the_author or {CASE}").assert_outcomes(passed=1, skipped=1)


def test_case_says_what_to_write_when_there_is_no_adapter(pytester: pytest.Pytester) -> None:
    result = run(pytester, "    class TestEmpty(RecordStoreContract):\n        pass\n", "-k", CASE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*TestEmpty derives from a contract and must define adapter*"])


def test_asserts_show_their_values_when_a_case_fails(pytester: pytest.Pytester) -> None:
    code = """
    class Broken(MemoryRecordStore):
        def lookup(self, run_id):
            return super().lookup(run_id).replace(data=b"broken")

    class TestBroken(RecordStoreContract):
        def adapter(self, env):
            return memory(env, Broken)
    """
    result = run(pytester, code, "-k", CASE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*data=b'broken'*"])
