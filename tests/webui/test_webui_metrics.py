"""`/metrics` as Prometheus has it: a process that serves and shows, scraped over HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

_SERVES = """
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal
from workflow_core import Engine, Run, Workflow
from workflow_webui import READ_ONLY, TokenAuth, User, create_app, serve

class Status(IntEnum):
    NEW = 1
    DONE = 2

@dataclass
class Order:
    total: int = 0

orders = Workflow("orders", Order, Status, ends=(Status.DONE,))

@orders.step(Status.NEW)
def finish(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE

tokens = TokenAuth({"r" * 40: User("reader", READ_ONLY), "n" * 40: User("nobody", frozenset())})
with Engine.from_config("workflow.toml") as engine, engine.serving(orders):
    engine.trigger(orders, "a", Order())
    serve(create_app(engine, [orders], auth=tokens), port=0)
"""

_CONFIG = """
[workflow]
record_store = "memory"
event_streamer = "memory"
role_scheduler = "memory"
observers = ["otel"]

[workflow.adapters.otel]
prometheus_registry = true
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a process of its own: the registry is the whole process's."""
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "workflow.toml").write_text(_CONFIG)
    (folder / "serves.py").write_text(_SERVES)
    log = folder / "log"
    with log.open("w") as said:
        server = subprocess.Popen([sys.executable, "serves.py"], cwd=folder, stderr=said)
        try:
            yield f"http://127.0.0.1:{_port_of(server, log)}/metrics"
        finally:
            server.send_signal(2)
            server.wait(60)
    assert server.returncode == 0, log.read_text()


def _port_of(server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while "running on http://127.0.0.1:" not in (text := log.read_text()):
        assert server.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.02)
    return text.split("running on http://127.0.0.1:")[1].split()[0]


def _scraped(url: str, token: str = "") -> tuple[int, dict[str, str], str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers), refused.read().decode()


def test_scrape_shows_what_the_process_does(url: str) -> None:
    """Seen to fail when the observer counts into a registry of its own: the run is not there."""
    done = {"workflow_name": "orders", "current_run_state": "Completed"}
    deadline = time.monotonic() + 60
    while True:
        status, headers, text = _scraped(url, "r" * 40)
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=")
        samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        changes = [s for s in samples if s.name == "workflow_run_state_changes"]
        if any(change.value == 1 and done.items() <= change.labels.items() for change in changes):
            break
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    assert "workflow_adapter_call_seconds_count" in {sample.name for sample in samples}
    series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
    assert len(series) == len(set(series))


@pytest.mark.parametrize(("token", "status"), [("", 401), ("x" * 40, 401), ("n" * 40, 403)])
def test_scrape_without_the_right_to_read_is_refused(url: str, token: str, status: int) -> None:
    """Seen to fail when the route asks for no right."""
    answered, headers, text = _scraped(url, token)
    assert answered == status
    assert (headers.get("www-authenticate") == "Bearer") is (status == 401)
    assert "workflow_run_state_changes" not in text
    assert "python_info" not in text
