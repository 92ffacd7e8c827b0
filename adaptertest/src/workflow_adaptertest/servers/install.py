"""Puts what servers need onto this machine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from workflow_adaptertest.servers.errors import NotAvailableError
from workflow_adaptertest.servers.kinds import Kind
from workflow_adaptertest.servers.place import Tools
from workflow_adaptertest.servers.recipes import Download, SystemPackages

__all__ = ["install"]


def install(kinds: Sequence[Kind], tools: Tools) -> None:
    """Installs what these servers need and is not there; packages of the system in one go.

    The downloads run side by side with that, but for those which a missing package has to make.

    Raises:
        NotAvailableError: something cannot be had. All else is installed nevertheless.
    """
    needs = list(dict.fromkeys(need for kind in kinds for need in kind.needs))
    downloads = [need for need in needs if isinstance(need, Download) and need.missing(tools)]
    makers = [maker for download in downloads for maker in download.tools_first]
    wanted = [need for need in needs if isinstance(need, SystemPackages)]
    missing = [packages for packages in [*wanted, *makers] if packages.missing(tools)]
    names = list(dict.fromkeys(name for packages in missing for name in packages.names))
    with ThreadPoolExecutor(1 + len(downloads)) as pool:
        system = pool.submit(SystemPackages.install, names) if names else None
        work = [pool.submit(_download, download, tools, system) for download in downloads]
        outcomes = [*([system] if system else []), *work]
        problems = [error for error in (each.exception() for each in outcomes) if error]
    for problem in problems:
        if not isinstance(problem, NotAvailableError):
            raise problem
    if problems:
        raise NotAvailableError("\n".join(dict.fromkeys(map(str, problems))))


def _download(download: Download, tools: Tools, system: Future[None] | None) -> None:
    if system is not None and any(maker.missing(tools) for maker in download.tools_first):
        system.result()
    download.install(tools)
