"""The dashboard, the rules for alerts and the page's tables know what is emitted, and no more."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry
from workflow_core.model import (
    AttemptFailed,
    EventSkipped,
    EventsPublished,
    LagSeen,
    LetterKept,
    LetterKind,
    LetterState,
    Observation,
    PortCalled,
    ProcessFailed,
    ProcessStanding,
    RoleChange,
    RoleChanged,
    RunState,
    SkipReason,
    Standing,
    StateChanged,
    StockTaken,
    TimerFired,
    Work,
    WorkDone,
    WorkKind,
)
from workflow_otel import INSTRUMENTS, OtelObserver, OtelSettings

from lib.programs import PROMTOOL

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "observing.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((DOCS / "observing" / "alerts.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DOCS / "observing" / "dashboard.json").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
FIRING = Path(__file__).with_name("firing.yml")

SELECTOR = re.compile(r"\b(workflow_(?!name\b)\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\bby\s*\(([^)]*)\)")

Series = dict[str, list[dict[str, str]]]


def happenings() -> Iterator[Observation]:
    """One of each kind, with every value that is of a fixed set."""
    to: dict[str, Any] = {"workflow": "orders", "process": "created-consumer"}
    work = Work(kind=WorkKind.STEP, name="create", **to)
    yield WorkDone(work=work, seconds=1.0)
    for is_last in (False, True):
        yield AttemptFailed(kind=WorkKind.STEP, error="ValueError", is_last=is_last, **to)
    yield ProcessFailed(process="relay", error="ValueError")
    for reason in SkipReason:
        yield EventSkipped(reason=reason, **to)
    yield LagSeen(seconds=1.0, is_over=True, **to)
    yield TimerFired(late=1.0, **to)
    yield ProcessStanding(standing=Standing.RUNNING, **to)
    for role in ("orders-main-steps", "orders-timers"):
        for change in RoleChange:
            yield RoleChanged(role=role, change=change, held=1, of=16)
    for after in RunState:
        yield StateChanged(workflow="orders", before=None, after=after)
    for by in ("writer", "relay"):
        yield EventsPublished(by=by, count=1)
    for kind in LetterKind:
        for state in LetterState:
            yield LetterKept(workflow="orders", kind=kind, name="bill", state=state)
    call: dict[str, Any] = {"port": "record_store", "adapter": "sql", "operation": "store_many"}
    for items, error in ((5, ""), (0, ""), (None, "AdapterUnavailableError")):
        yield PortCalled(seconds=1.0, items=items, error=error, **call)
    runs = {("CREATED", RunState.PAUSED): 1}
    outbox: dict[str, Any] = {"outbox_due": 1, "outbox_scheduled": 1, "outbox_age": 1.0}
    workers = {"live": 2, "lost": 1}
    yield StockTaken(workflow="orders", runs=runs, workers=workers, **outbox)


@pytest.fixture(scope="module")
def emitted() -> Series:
    """What Prometheus is shown: the labels of each series, by its name."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    provider = MeterProvider([reader])
    observer = OtelObserver(OtelSettings(traces=False), meter_provider=provider)
    observer.notice(list(happenings()))
    series: Series = {}
    for family in registry.collect():
        for sample in family.samples:
            series.setdefault(sample.name, []).append(sample.labels)
    provider.shutdown()
    return series


def check_expression(expression: str, emitted: Series) -> set[str]:
    """Answers the labels by which it is grouped."""
    known: set[str] = {"le"}
    for name, matchers in SELECTOR.findall(expression):
        assert name in emitted, f"{name} is not emitted"
        labels = set().union(*emitted[name])
        known |= labels
        for label, operator, value in MATCHER.findall(matchers):
            assert label in labels, f"{name} has no label {label}"
            if operator == "=" and value:
                assert value in {each[label] for each in emitted[name]}, f"{label}={value!r}"
    grouped = {label.strip() for by in GROUPED.findall(expression) for label in by.split(",")}
    assert grouped <= known, f"no label {grouped - known} in {expression}"
    return grouped


def promtool(*words: str | Path) -> str:
    """What Prometheus's own tool says to that; it has to be content."""
    program = PROMTOOL.path()
    if program is None:
        pytest.skip("no promtool here; scripts/programs installs it")
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_prometheus_can_read_the_rules() -> None:
    """Seen to fail with a parenthesis too few, and with a summary that names no field."""
    said = promtool("check", "rules", DOCS / "observing" / "alerts.yml")
    assert f"SUCCESS: {len(ALERTS)} rules found" in said


def test_prometheus_can_read_what_the_dashboard_asks(tmp_path: Path) -> None:
    """Seen to fail with `sum with (…)`, and with a rate of what has no range."""
    asked = [
        text.replace("$__rate_interval", "5m").replace("$workflow", "orders") for text in PANELS
    ]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
    written = tmp_path / "panels.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    said = promtool("check", "rules", written)
    assert f"SUCCESS: {len(PANELS)} rules found" in said


def test_each_alert_tells_when_it_has_to_and_is_quiet_before(emitted: Series) -> None:
    """Seen to fail with a threshold, a `for` and an `offset` of another size."""
    promtool("test", "rules", FIRING)
    tests = yaml.safe_load(FIRING.read_text(encoding="utf-8"))["tests"]
    for series in (each["series"] for test in tests for each in test["input_series"]):
        check_expression(re.sub(r'(?:, )?(?:instance|le)="[^"]*"', "", series), emitted)
    looks = [look for test in tests for look in test["alert_rule_test"]]
    for quiet in (False, True):
        seen = {look["alertname"] for look in looks if quiet is not bool(look["exp_alerts"])}
        assert seen == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_a_rule_asks_for_what_is_emitted_and_is_told_of(
    rule: dict[str, Any], emitted: Series
) -> None:
    """Seen to fail with a misspelt metric, a label that it has not, a value that it never is."""
    grouped = check_expression(rule["expr"], emitted)
    told = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
    assert set(told) <= grouped
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert re.search(rf"^\| {rule['alert']} \| .+ \| .+ \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: str(panel["title"]))
def test_a_panel_asks_for_what_is_emitted(panel: dict[str, Any], emitted: Series) -> None:
    """Seen to fail with a legend of a label by which nothing was grouped."""
    for target in panel["targets"]:
        grouped = check_expression(target["expr"], emitted)
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped


def test_the_dashboard_and_the_alerts_leave_no_metric_out() -> None:
    texts = [*PANELS, *(rule["expr"] for rule in ALERTS)]
    asked = {name for text in texts for name, _ in SELECTOR.findall(text)}
    for it in INSTRUMENTS.values():
        series = {it.prometheus, *(f"{it.prometheus}_{part}" for part in ("bucket", "count"))}
        assert series & asked, f"nobody looks at {it.prometheus}"


def test_variables_of_the_dashboard_are_asked_of_what_is_emitted(emitted: Series) -> None:
    (query,) = [v["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
    assert all(label in each for each in emitted[name])


def test_every_metric_is_emitted_with_the_labels_that_the_page_tells(emitted: Series) -> None:
    """Seen to fail with a metric that nothing was told to."""
    for it in INSTRUMENTS.values():
        name = it.prometheus if it.prometheus in emitted else f"{it.prometheus}_count"
        assert set().union(*emitted[name]) == set(it.labels)
        labels = ", ".join(f"`{label}`" for label in it.labels)
        assert f"| `{it.prometheus}` | {labels} | {it.text} |\n" in PAGE
