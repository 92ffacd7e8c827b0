"""Serving by itself: not to the network by accident."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core.errors import AdapterUnavailableError, ConfigurationError
from workflow_webui import TokenAuth, UiSettings, User, create_app, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import House


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "shop.example"])
def test_network_is_refused_without_an_auth_hook(house: House, host: str) -> None:
    """Seen to fail when `serve` does not look at the address."""
    with pytest.raises(ConfigurationError, match="in vain"):
        serve(create_app(house.engine), host=host, port=0)


def test_network_is_served_with_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[Any] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **more: began.append(more))
    app = create_app(house.engine, auth=TokenAuth({"t" * 40: User("ann")}))
    serve(app, host="0.0.0.0", port=1)
    serve(create_app(house.engine), host="127.0.0.1", port=2)
    assert [(each["host"], each["proxy_headers"]) for each in began] == [
        ("0.0.0.0", False),
        ("127.0.0.1", False),
    ]


def test_command_serves_a_configuration(tmp_path: Path) -> None:
    """The whole way: configuration, definitions, a real server, SIGINT."""
    (tmp_path / "workflow.toml").write_text(
        "[workflow]\n" + "".join(f'{port} = "memory"\n' for port in PORTS)
    )
    (tmp_path / "flow.py").write_text(_FLOW)
    port = _free_port()
    command = [sys.executable, "-m", "workflow_webui", "flow:orders", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--config", "workflow.toml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        page = _asked(f"http://127.0.0.1:{port}/workflows")
        assert "orders" in page
    finally:
        server.send_signal(2)
        _, told = server.communicate(timeout=30)
    assert server.returncode == 0, told


def test_metrics_are_told_as_missing_without_a_prometheus_client(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail, with 500, when the import's error is let out."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = house.client.get("/metrics")
    assert answer.status_code == 501
    assert "telemetry" in answer.json()["hint"]


def test_probes_and_metrics_answer_while_the_store_hangs(
    open_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when metrics or auth hooks wait for one of the store's threads: no answer."""
    house = open_house(settings=UiSettings(threads=1), auth=lambda connection: User("ann"))
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(query: object) -> object:
        hangs.set()
        goes_on.wait(60)
        raise AdapterUnavailableError("the database does not answer")

    monkeypatch.setattr(house.engine.adapters.record_store, "list_records", hang)
    with house.client as client, ThreadPoolExecutor() as threads:
        try:
            page = threads.submit(client.get, "/api/runs")
            assert hangs.wait(60)
            told = [threads.submit(client.get, path) for path in ("/healthz", "/metrics")]
            assert [each.result(60).status_code for each in told] == [200, 501]
            assert not page.done()
        finally:
            goes_on.set()
        assert page.result(60).status_code == 503


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["none:flow"], "there is no none:flow"), (["os:path"], "is a module, and no Workflow")],
)
def test_command_tells_what_is_wrong(arguments: list[str], told: str) -> None:
    command = [sys.executable, "-m", "workflow_webui", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr


PORTS = ("record_store", "event_streamer", "role_scheduler")

_FLOW = """
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal
from workflow_core import Run, Workflow

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
"""


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _asked(url: str) -> str:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
