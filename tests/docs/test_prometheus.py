"""A real Prometheus scrapes an engine's page: the dashboard and the rules, asked of it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from workflow_adaptertest.servers.ports import free_ports
from workflow_core import Engine, Run, Workflow
from workflow_otel import INSTRUMENTS

from lib.programs import PROMETHEUS

OBSERVING = Path(__file__).parents[2] / "docs" / "observing"
LIMIT = timedelta(seconds=60)
CONFIG = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: workflow
    static_configs: [{{ targets: ["127.0.0.1:{port}"] }}]
"""


class Status(IntEnum):
    CREATED = 1
    SENT = 2


@dataclass
class Order:
    pass


class Prometheus:
    """Asked by its HTTP API."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, what: str, **words: str) -> Any:
        """Raises what urllib does: it is not there yet, or it refuses."""
        with urllib.request.urlopen(
            f"{self._api}/{what}?{urllib.parse.urlencode(words)}", timeout=10
        ) as answer:
            told = json.loads(answer.read())
        assert told["status"] == "success", told
        return told["data"]

    def values(self, expression: str) -> dict[frozenset[tuple[str, str]], float]:
        """By its labels, what each series of the answer is now."""
        told = self.ask("query", query=expression)["result"]
        return {frozenset(it["metric"].items()): float(it["value"][1]) for it in told}

    def finds(self, expression: str, value: float) -> bool:
        """Whether it answers and that is all there is."""
        try:
            return list(self.values(expression).values()) == [value]
        except urllib.error.URLError:  # it starts
            return False

    def rules(self) -> list[dict[str, Any]]:
        """Of all groups."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def looked_at_rules(self) -> datetime:
        """Since when each has been looked at."""
        return min(datetime.fromisoformat(rule["lastEvaluation"]) for rule in self.rules())


def eventually(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT.total_seconds()
    while not is_so():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.1)


@pytest.fixture
def page() -> Iterator[int]:
    """The port of the page of an engine that has worked on some runs and serves on."""
    flow = Workflow("orders", Order, Status, ends=(Status.SENT,))

    @flow.step(Status.CREATED)
    def send(run: Run[Order, Status]) -> Literal[Status.SENT]:
        return Status.SENT

    (port,) = free_ports(1)
    ports = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
    chosen = {
        **dict.fromkeys(ports, "memory"),
        "observers": ["otel"],
        "adapters.otel.prometheus_host": "127.0.0.1",
        "adapters.otel.prometheus_port": port,
    }
    with Engine.from_config(environ={}, overrides=chosen) as engine, engine.serving(flow):
        for number in range(3):
            run_id = engine.trigger(flow, f"o-{number}", Order())
            engine.wait_until_ended(flow, run_id, LIMIT)
        yield port


@pytest.fixture
def prometheus(page: int, tmp_path: Path) -> Iterator[Prometheus]:
    program = PROMETHEUS.path()
    if program is None:
        pytest.skip("no Prometheus here; scripts/programs installs it")
    (port,) = free_ports(1)
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(rules=OBSERVING / "alerts.yml", port=page), encoding="utf-8")
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait(30)


def test_prometheus_scrapes_what_the_dashboard_and_the_rules_ask(prometheus: Prometheus) -> None:
    """Seen to fail when the page had no changes of runs' states, when the dashboard's variables
    were left as they are, and with a rule that matches many series to many.
    """
    completed = 'workflow_run_state_changes{workflow_name="orders",current_run_state="Completed"}'
    eventually(lambda: prometheus.finds(completed, 3.0), "three runs that were seen to end")
    scraped = datetime.now(UTC)
    eventually(lambda: prometheus.looked_at_rules() > scraped, "a look at all rules")
    assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
    dashboard = json.loads((OBSERVING / "dashboard.json").read_text(encoding="utf-8"))
    variables = {"$__rate_interval": "1m", "$workflow": "orders"}
    for target in [target for panel in dashboard["panels"] for target in panel["targets"]]:
        expression = target["expr"]
        for name, value in variables.items():
            expression = expression.replace(name, value)
        prometheus.values(expression)
    told = {name for name in prometheus.ask("label/__name__/values") if "workflow_" in name}
    ends = ("", "_bucket", "_count", "_sum")
    assert told <= {f"{it.prometheus}{end}" for it in INSTRUMENTS.values() for end in ends}
    assert prometheus.values("sum(workflow_process_latency_seconds_count)") == {frozenset(): 3.0}
