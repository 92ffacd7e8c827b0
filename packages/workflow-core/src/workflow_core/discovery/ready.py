"""Configurations that need no file. The environment has no say in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow_core.discovery.config import Config
from workflow_core.errors import ConfigurationError

__all__ = ["embedded", "in_memory"]

_ENGINE_PORTS = ("record_store", "timeout_store", "event_streamer", "role_scheduler")


def embedded(
    path: str | Path,
    *,
    overrides: Mapping[str, object] | None = None,
    sections: Mapping[str, type[Any]] | None = None,
) -> Config:
    """Everything in one SQLite file, for one machine: durable, and no server is needed.

    Args:
        path: the file; made when the adapters are, its folder must exist.
        overrides: further settings, as in `Config.load`.
        sections: as in `Config.load`.

    Raises:
        ConfigurationError: all problems; the wheel with the adapter ``sql`` is not installed.
    """
    # absolute: connections opened after a change of the working directory must find the same file
    file = str(Path(path).absolute())
    if "?" in file:
        raise ConfigurationError(f"{file!r} cannot be told in a URL: it has a '?' in it")
    url = {"adapters.sql.url": f"sqlite:///{file}"}
    return _everywhere("sql", {**url, **(overrides or {})}, sections)


def in_memory(
    *,
    overrides: Mapping[str, object] | None = None,
    sections: Mapping[str, type[Any]] | None = None,
) -> Config:
    """Everything in this process's memory, for tests and trials: gone when it ends.

    Args:
        overrides: further settings, as in `Config.load`.
        sections: as in `Config.load`.

    Raises:
        ConfigurationError: all problems.
    """
    return _everywhere("memory", overrides or {}, sections)


def _everywhere(
    adapter: str, settings: Mapping[str, object], sections: Mapping[str, type[Any]] | None
) -> Config:
    chosen = {**dict.fromkeys(_ENGINE_PORTS, adapter), **settings}
    return Config.load(environ={}, overrides=chosen, sections=sections)
