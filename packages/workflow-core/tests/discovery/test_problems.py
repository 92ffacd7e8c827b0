"""Whatever is wrong is told, all of it at once, with where it stands and without a secret."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from workflow_core.discovery import Catalogue, Config
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

Pretend = Callable[..., None]
Factory = Callable[[str, type[Any]], Any]
Write = Callable[[str], str]
Problems = Callable[..., list[str]]


class Mode(Enum):
    ASYNC = "async"
    FULL = "full"


@dataclass(frozen=True)
class Pool:
    size: int = 5


@dataclass(frozen=True)
class Sql:
    url: Secret
    lease: timedelta = timedelta(seconds=3)
    mode: Mode = Mode.FULL
    pool: Pool = Pool()
    password: str = ""
    token: Secret | None = None
    token_mode: Mode = Mode.FULL

    def __post_init__(self) -> None:
        if "bad" in self.url.reveal():
            raise ValueError(f"cannot use {self.url.reveal()} nor x://u:pw@h")


@dataclass(frozen=True)
class Picky:
    size: int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ConfigurationError("wrong", problems=("size: must not be negative", "nor: this"))


@dataclass(frozen=True)
class Odd:
    x: complex = 0j


@dataclass(frozen=True)
class NoSettings:
    pass


SQL = """
[workflow]
record_store = "sql"
[workflow.adapters.sql]
"""
INSTALLED = "installed: memory, odd, picky, sql"


@pytest.fixture(autouse=True)
def installed(pretend: Pretend, factory: Factory) -> None:
    ports = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
    pretend("workflow-core", {port: {"memory": factory(port, NoSettings)} for port in ports})
    pretend("workflow-sql", {port: {"sql": factory(port, Sql)} for port in ports})
    pretend("odd-wheel", {"record_store": {"odd": factory("record_store", Odd)}})
    pretend("picky-wheel", {"record_store": {"picky": factory("record_store", Picky)}})


@pytest.fixture
def problems(write: Write, catalogue: Catalogue) -> Problems:
    """The problems of a file, environment and so on."""

    def find(text: str | None = None, **given: Any) -> list[str]:
        path = None if text is None else write(text)
        with pytest.raises(ConfigurationError) as caught:
            Config.load(path, catalogue=catalogue, **{"environ": {}, **given})
        assert str(caught.value).splitlines()[1:] == [f"  {it}" for it in caught.value.problems]
        return list(caught.value.problems)

    return find


def test_all_problems_are_told_at_once_each_with_its_source(problems: Problems) -> None:
    text = """
    [workflow]
    record_store = "sql"
    event_streamer = "kafka"
    role_scheduler = "sqll"
    namespace = "a b"
    record_stor = 1
    [workflow.adapters.sql]
    urll = "x"
    lease = 10
    mode = "asnc"
    token = "${NOPE}"
    [workflow.adapters.sql.pool]
    siez = 5
    [workflow.engien]
    shards = 1
    """
    environ = {"WORKFLOW_SQL__POOL__SIZE": "many", "WORKFLOW_SQL__LEASES": "1s"}
    assert sorted(problems(text, environ=environ)) == sorted(
        [
            "workflow.toml [workflow] namespace: expected at most 64 letters, digits, '_', '-' and"
            " '.', got 'a b'",
            "workflow.toml [workflow] event_streamer: the event streamer 'kafka' comes in the wheel"
            " workflow-kafka; installed: memory, sql",
            "workflow.toml [workflow] role_scheduler: no role scheduler is called 'sqll'; did you"
            " mean 'sql'? installed: memory, sql",
            "workflow.toml [workflow] record_stor: no such setting; did you mean 'record_store'?",
            "workflow.toml [workflow] engien: no such table; did you mean 'engine'?",
            "workflow.toml [workflow.adapters.sql] url: required; set it here or as"
            " WORKFLOW_SQL__URL",
            "workflow.toml [workflow.adapters.sql] urll: no such setting; did you mean 'url'?",
            "workflow.toml [workflow.adapters.sql] lease: expected a duration such as '10s',"
            " '250ms' or '1h30m', got 10",
            "workflow.toml [workflow.adapters.sql] mode: expected one of 'async', 'full', got"
            " 'asnc'; did you mean 'async'?",
            "workflow.toml [workflow.adapters.sql] token: the environment has no variable NOPE",
            "workflow.toml [workflow.adapters.sql.pool] siez: no such setting; did you mean"
            " 'size'?",
            "WORKFLOW_SQL__POOL__SIZE: expected a whole number, got text",
            "WORKFLOW_SQL__LEASES: no such setting; did you mean 'WORKFLOW_SQL__LEASE'?",
        ]
    )


def test_problem_is_told_once_when_several_ports_use_the_adapter(problems: Problems) -> None:
    text = """
    [workflow]
    record_store = "sql"
    timeout_store = "sql"
    adapters.sql.lease = 1
    """
    assert len(problems(text)) == 2


def test_ways_are_listed_when_nothing_is_configured(problems: Problems, tmp_path: Path) -> None:
    ways = "\n".join(problems(environ={"HOME": "/", "WORKFLOW_ID": "17"}))
    for way in ("workflow.toml", "WORKFLOW_CONFIG", "WORKFLOW_SQL__URL", "embedded", "in_memory"):
        assert way in ways


def test_record_store_is_required_when_anything_is_configured(problems: Problems) -> None:
    assert problems("") == [
        "workflow.toml [workflow] record_store: required; set it here or as WORKFLOW_RECORD_STORE"
    ]
    assert problems(environ={"WORKFLOW_NAMESPACE": "x"}) == [
        "WORKFLOW_RECORD_STORE: required; set it"
    ]


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (
            'record_store = "kafka"',
            "'kafka' serves as event streamer and connector source, not as record store; "
            + INSTALLED,
        ),
        ('record_store = "zzz"', f"no record store is called 'zzz'; {INSTALLED}"),
        (
            'record_store = "x://u:hunter2@h"',
            f"no record store is called 'x://u:…@h'; {INSTALLED}",
        ),
        ("record_store = 5", "expected text, got a whole number"),
        (
            'record_store = "memory"\nevent_streamer = "kafkaa"',
            "no event streamer is called 'kafkaa'; did you mean 'kafka', which comes in the wheel"
            " workflow-kafka? installed: memory, sql",
        ),
        (
            'record_store = "memory"\nobservers = ["otel"]',
            "the observer 'otel' comes in the wheel workflow-otel; installed: none",
        ),
        ('record_store = "memory"\nobservers = "otel"', "expected a list, got text"),
    ],
)
def test_adapter_name_is_refused_with_what_there_is(
    choice: str, complaint: str, problems: Problems
) -> None:
    (problem,) = problems(f"[workflow]\n{choice}")
    assert problem.partition(": ")[2] == complaint


def test_alias_is_refused_where_its_adapter_is_named(problems: Problems) -> None:
    text = (
        '[workflow]\nrecord_store = "main"\n[workflow.adapters.main]\nadapter = "sqll"\nurl = "x"'
    )
    (problem,) = problems(text)
    assert problem.startswith("workflow.toml [workflow.adapters.main] adapter: no record store")


def test_alias_is_a_near_match_too(problems: Problems) -> None:
    text = '[workflow]\nrecord_store = "mainn"\n[workflow.adapters.main]\nadapter = "memory"'
    (problem,) = problems(text)
    assert "did you mean 'main'?" in problem


def test_two_distributions_of_one_adapter_name_are_refused(
    problems: Problems, pretend: Pretend, factory: Factory
) -> None:
    again = {"record_store": {"sql": factory("record_store", NoSettings)}}
    pretend("strangers-sql", again, version="7.0")
    assert problems('[workflow]\nrecord_store = "sql"') == [
        "workflow.toml [workflow] record_store: two distributions give a record store 'sql':"
        " strangers-sql 7.0 and workflow-sql 0.1.0; keep one"
    ]


def test_broken_adapter_is_told_with_the_rest_and_its_cause_is_chained(
    write: Write, catalogue: Catalogue, pretend: Pretend
) -> None:
    pretend("broken-wheel", {"record_store": {"broken": "nowhere_at_all:make"}}, version="0.2")
    file = write('[workflow]\nrecord_store = "broken"\nnamespace = 5\nadapters.broken.x = 1')
    with pytest.raises(ConfigurationError) as caught:
        Config.load(file, environ={}, catalogue=catalogue)
    assert caught.value.problems == (
        "workflow.toml [workflow] namespace: expected text, got a whole number",
        "workflow.toml [workflow] record_store: 'broken' of the distribution broken-wheel 0.2"
        " cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_several_broken_adapters_are_chained_as_a_group(
    write: Write, catalogue: Catalogue, pretend: Pretend
) -> None:
    pretend(
        "a-wheel", {"record_store": {"a": "nowhere_a:make"}, "timeout_store": {"a": "nowhere_a:x"}}
    )
    pretend("b-wheel", {"event_streamer": {"b": "nowhere_b:make"}})
    file = write('[workflow]\nrecord_store = "a"\ntimeout_store = "a"\nevent_streamer = "b"')
    with pytest.raises(ConfigurationError) as caught:
        Config.load(file, environ={}, catalogue=catalogue)
    assert len(caught.value.problems) == 3
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


def test_connector_without_adapter_or_with_unknown_settings_is_refused(problems: Problems) -> None:
    text = """
    [workflow]
    record_store = "memory"
    [workflow.connectors.a]
    topic = "x"
    [workflow.connectors]
    b = "kafka"
    c.adapter = "reflex"
    """
    assert problems(text) == [
        "workflow.toml [workflow.connectors.a] adapter: required; set it here or as"
        " WORKFLOW_CONNECTORS__A__ADAPTER",
        "workflow.toml [workflow.connectors.b] adapter: required; set it here or as"
        " WORKFLOW_CONNECTORS__B__ADAPTER",
        "workflow.toml [workflow.connectors.c] adapter: the connector source 'reflex' comes in the"
        " wheel workflow-reflex; installed: none",
        "workflow.toml [workflow.connectors] b: expected a table",
    ]


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        (
            {"WORKFLOW_RECRD_STORE": "x"},
            "WORKFLOW_RECRD_STORE: no such setting; did you mean 'WORKFLOW_RECORD_STORE'?",
        ),
        (
            {"WORKFLOW_SLQ__URL": "x"},
            "WORKFLOW_SLQ__URL: no adapter of this name is chosen; did you mean"
            " 'WORKFLOW_SQL__URL'?",
        ),
        (
            {"WORKFLOW_SQL__QQQQ": "x"},  # near to nothing, though it begins like all of them
            "WORKFLOW_SQL__QQQQ: no such setting",
        ),
        (
            {"WORKFLOW_SQL__MODE": "x"},
            "WORKFLOW_SQL__MODE: expected one of 'async', 'full', got 'x'",
        ),
        (
            {"WORKFLOW_CONNECTORS__A__TOPIC": "x"},
            "WORKFLOW_CONNECTORS__A__TOPIC: no such setting",
        ),
    ],
)
def test_variable_is_refused_when_it_is_meant_for_us_and_sets_nothing(
    environ: dict[str, str], complaint: str, problems: Problems
) -> None:
    text = SQL + 'url = "x"'
    assert problems(text, environ=environ) == [complaint]


def test_misspelt_variable_is_told_even_when_nothing_else_is_configured(problems: Problems) -> None:
    assert problems(environ={"WORKFLOW_RECRD_STORE": "sql"}) == [
        "WORKFLOW_RECORD_STORE: required; set it",
        "WORKFLOW_RECRD_STORE: no such setting; did you mean 'WORKFLOW_RECORD_STORE'?",
    ]


def test_variable_that_would_set_two_things_is_refused(problems: Problems) -> None:
    text = """
    [workflow]
    record_store = "a-b"
    timeout_store = "a_b"
    adapters.a-b = { adapter = "sql", url = "x" }
    adapters.a_b = { adapter = "sql", url = "y" }
    """
    assert problems(text, environ={"WORKFLOW_A_B__URL": "z"}) == [
        "WORKFLOW_A_B__URL: it would set two settings, adapters.a-b.url and adapters.a_b.url;"
        " rename one"
    ]


def test_override_is_refused_when_it_sets_nothing(problems: Problems) -> None:
    overrides = {"record_store": "memory", "adapters.memry.adaptr": "x", "record_stor": 1}
    assert problems(overrides=overrides) == [
        "adapters.memry.adaptr, given by the caller: no such setting; did you mean"
        " 'adapters.memory.adapter'?",
        "record_stor, given by the caller: no such setting; did you mean 'record_store'?",
    ]


def test_section_is_checked_with_the_rest_when_it_is_declared(
    write: Write, catalogue: Catalogue, problems: Problems
) -> None:
    text = '[workflow]\nrecord_store = "zzz"\n[workflow.picky]\nsize = -1\nsizze = 1'
    engine = problems("[workflow.engine]\nsizze = 1", sections={"engine": Picky})
    assert "workflow.toml [workflow.engine] sizze: no such setting; did you mean 'size'?" in engine
    assert problems(text, sections={"picky": Picky})[1:] == [
        "workflow.toml [workflow.picky] size: must not be negative",
        "workflow.toml [workflow.picky]: nor: this",
        "workflow.toml [workflow.picky] sizze: no such setting; did you mean 'size'?",
    ]


def test_section_is_checked_when_asked_for(write: Write, catalogue: Catalogue) -> None:
    file = write('[workflow]\nrecord_store = "memory"\n[workflow.engine]\nsizes = 1')
    config = Config.load(file, environ={"WORKFLOW_ENGINE__SIZE": "x"}, catalogue=catalogue)
    with pytest.raises(ConfigurationError) as caught:
        config.section("engine", Picky)
    assert caught.value.problems == (
        "WORKFLOW_ENGINE__SIZE: expected a whole number, got text",
        "workflow.toml [workflow.engine] sizes: no such setting; did you mean 'size'?",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[workflow\n",
            "workflow.toml: Expected ']' at the end of a table declaration (at line 1, column 10)",
        ),
        ('[adapters.sql]\nurl = "x"', "workflow.toml [adapters]: expected [workflow.adapters]"),
        ("[wrokflow]", "workflow.toml [wrokflow]: no such table; did you mean 'workflow'?"),
        ("workflow = 5", "workflow.toml workflow: expected a table [workflow]"),
    ],
)
def test_file_is_refused_when_it_cannot_be_read_as_ours(
    text: str, complaint: str, problems: Problems
) -> None:
    assert problems(text) == [complaint]


def test_file_is_refused_when_it_is_missing_or_no_text(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    (tmp_path / "latin.toml").write_bytes(b'password = "hunter2\xe9"')
    for path, complaint in (
        (tmp_path / "none.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin.toml", "the file is not in UTF-8"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            Config.load(path, environ={}, catalogue=catalogue)
        assert caught.value.problems == (f"{path}: {complaint}",)


def test_byte_order_mark_is_no_problem(catalogue: Catalogue, tmp_path: Path) -> None:
    file = tmp_path / "workflow.toml"
    file.write_text('[workflow]\nrecord_store = "memory"', encoding="utf-8-sig")
    Config.load(file, environ={}, catalogue=catalogue)


def test_type_that_nothing_written_can_become_is_the_adapters_mistake(problems: Problems) -> None:
    (problem,) = problems('[workflow]\nrecord_store = "odd"\n[workflow.adapters.odd]\nx = 5')
    assert problem.endswith("complex is no type for a setting; that is a mistake of the adapter's")


def test_short_secret_is_not_told_by_holes_in_other_words(problems: Problems) -> None:
    (problem,) = problems(SQL + 'url = "bad"\ntoken = "s"')
    assert problem == "workflow.toml [workflow.adapters.sql]: cannot use … nor x://u:…@h"


@pytest.mark.parametrize(
    "text",
    [
        'url = "bad://hunter2"',
        "url = 5\ntoken = 7",
        'url = "x"\npassword = ["hunter2"]',
        'url = "hunter2"\nlease = "x://u:hunter2@h"',
        'url = "hunter2"\nmode = "x://u:hunter2@h"',
        'url = "hunter2${"',
        'url = "x"\ntoken_mode = "hunter2"',
        'hunter = "hunter2"\nurl = "x"',
    ],
)
def test_secret_is_never_told(text: str, write: Write, catalogue: Catalogue) -> None:
    file = write(SQL + text)
    with pytest.raises(ConfigurationError) as caught:
        Config.load(file, environ={}, catalogue=catalogue)
    told: BaseException | None = caught.value
    while told is not None:
        assert "hunter2" not in str(told)
        assert "u:pw@h" not in str(told)
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)


def test_secret_is_never_listed(write: Write, catalogue: Catalogue) -> None:
    file = write(SQL + 'url = "hunter2"\npassword = "hunter2"\ntoken = "hunter2"')
    config = Config.load(file, environ={}, catalogue=catalogue)
    assert "hunter2" not in repr(config.values())
    assert [it.value for it in config.values()].count("…") == 4
