"""``workflow ui``: opened over HTTP as a browser does, and what is wrong told in a sentence."""

from __future__ import annotations

import re
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workflow_ctl.exits import Exit

if TYPE_CHECKING:
    import subprocess

    from tests.conftest import Shop


def served(shop: Shop, *words: str) -> tuple[subprocess.Popen[str], str]:
    """The command with a free port, and where its log says that it listens."""
    process = shop.start("ui", "--port", "0", "--embedded", shop.file, *words, told=Path("err"))

    def told() -> str:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", Path("err").read_text())
        return found[1] if found else ""

    return process, shop.until(told, "it listens")


def opened(url: str, token: str = "") -> str:
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def test_runs_are_shown_over_http_until_a_signal(shop: Shop) -> None:
    """Seen to fail when the definitions were not handed on: statuses had numbers only."""
    run_id = shop.trigger("order-1")
    process, url = served(shop, "--app", "ctl_shop:everything", "--title", "The shop")
    page = opened(f"{url}/runs/{run_id}")
    assert "order-1" in page
    assert "CREATED" in page
    assert "The shop" in page
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == Exit.OK, Path("err").read_text()
    assert "Traceback" not in Path("err").read_text()


def test_token_is_printed_and_asked_for(shop: Shop) -> None:
    """Seen to fail when the token was not handed to the app."""
    shop.trigger("order-1")
    process, url = served(shop, "--token")
    (token,) = re.findall(r"token: (\S+)", Path("err").read_text())
    with pytest.raises(urllib.error.HTTPError) as refused:
        opened(f"{url}/api/runs")
    with refused.value:
        assert refused.value.code == 401
    assert "order-1" in opened(f"{url}/api/runs", token)
    process.terminate()
    assert process.wait(timeout=60) == Exit.OK


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "192.0.2.7"], "only this machine's browsers are answered"),
        (["--token", "--auth", "ctl_shop:HOUR"], "give one"),
        (["--auth", "ctl_shop"], "is not of the form module:name"),
        (["--auth", "ctl_shop:nobody"], "has no 'nobody'"),
        (["--port", "65536"], "--port"),
    ],
)
def test_mistakes_are_told(shop: Shop, words: list[str], told: str) -> None:
    answer = shop.here("ui", *words, code=Exit.USAGE)
    assert told in answer.err
    assert "Traceback" not in answer.err


def test_wheel_that_is_missing_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when the import's own error was passed on."""
    monkeypatch.setitem(sys.modules, "workflow_webui", None)
    answer = shop.here("ui", code=Exit.USAGE)
    assert "it comes in the wheel workflow-webui" in answer.err
