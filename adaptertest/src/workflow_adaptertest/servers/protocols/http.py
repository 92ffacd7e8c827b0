"""HTTP with JSON, for servers that offer it beside their own protocol: etcd and Toxiproxy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from workflow_adaptertest.servers.url import Address

__all__ = ["HttpError", "call"]

_SECONDS = 5.0
# a proxy from the environment must not come between a test and the loopback interface
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HttpError(ConnectionError):
    """The server refused a request.

    Attributes:
        status: HTTP's number for it.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


def call(address: Address, method: str, path: str, body: object = None) -> Any:
    """One request; answers the JSON that came back, None for nothing.

    Raises:
        HttpError: the server refused it.
        OSError: it does not answer, or not in JSON.
    """
    request = urllib.request.Request(
        f"http://{address[0]}:{address[1]}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "workflow-adaptertest"},
        method=method,
    )
    try:
        with _OPENER.open(request, timeout=_SECONDS) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        with error:
            raise HttpError(error.code, error.read().decode(errors="replace")) from error
    try:
        return json.loads(text) if text.strip() else None
    except ValueError as error:
        raise ConnectionError(f"{address[0]}:{address[1]} answered no JSON") from error
