"""Two processes of one app over one store, as behind something that spreads requests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

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
_TOKEN = "t" * 40
_ENVIRONMENT = {"WORKFLOW_WEBUI_TOKEN": _TOKEN, "WORKFLOW_WEBUI_SECRET": "s" * 40}
_LISTENS = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


@pytest.fixture
def addresses(tmp_path: Path) -> Iterator[list[str]]:
    """Of both."""
    ports = ("record_store", "event_streamer", "role_scheduler")
    lines = ["[workflow]", *(f'{port} = "sql"' for port in ports)]
    lines += ["[workflow.adapters.sql]", f'url = "sqlite:///{tmp_path}/orders.db"']
    (tmp_path / "workflow.toml").write_text("\n".join(lines))
    (tmp_path / "flow.py").write_text(_FLOW)
    with ExitStack() as stack:
        yield [stack.enter_context(_served(tmp_path, name)) for name in ("one", "two")]


@contextmanager
def _served(folder: Path, name: str) -> Iterator[str]:
    log = folder / f"{name}.log"
    command = ["-m", "workflow_webui", "flow:orders", "--config", "workflow.toml", "--port", "0"]
    with log.open("w") as said:
        environment = {**os.environ, **_ENVIRONMENT}
        server = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stderr=said, env=environment
        )
        try:
            deadline = time.monotonic() + 60
            while not (found := _LISTENS.search(log.read_text())):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield found[1]
        finally:
            server.send_signal(2)
            server.wait(60)


class _Browser:
    """Its cookies go to both, as they would to one address."""

    def __init__(self) -> None:
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(cookies, _NoRedirect())

    def ask(self, url: str, **form: str) -> tuple[int, str, str]:
        """Status, page, and where it leads."""
        body = urllib.parse.urlencode(form).encode() if form else None
        try:
            answer = self._opener.open(url, body, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read().decode(), answer.headers.get("location", "")

    def csrf(self, url: str) -> str:
        return self.ask(url)[1].split('name="csrf" value="', 1)[1].split('"', 1)[0]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *asked: object, **more: object) -> None:
        return None


def test_what_one_has_begun_the_other_tells_of(addresses: list[str]) -> None:
    """Login and forms of one count in the other, and a job's page says where the job is.

    Seen to fail when the secret is not taken from the environment, and when the job's id does not
    name its process.
    """
    one, two = addresses
    browser = _Browser()
    form = browser.csrf(f"{one}/login")
    assert browser.ask(f"{two}/login", token=_TOKEN, csrf=form)[0] == 303
    begin = "/workflows/orders/begin"
    fields = {"foreign_id": "a", "data": "{}", "reason": "r", "csrf": browser.csrf(one + begin)}
    assert browser.ask(two + begin, **fields)[0] == 303
    form = browser.csrf(f"{one}/runs")
    bulk = {"verb": "pause", "workflow": "orders", "reason": "stock taking", "csrf": form}
    status, page, job = browser.ask(f"{two}/bulk/new", **bulk)
    assert status == 303, page
    status, page, _ = browser.ask(one + job)
    assert status == 404
    assert "this action was begun in another process" in page
    assert "shows how far the action is as soon as" in page
    status, page, _ = browser.ask(two + job)
    assert status == 200
    assert "stock taking" in page
