"""How programs come onto a machine: as packages of the system, or into a folder of our own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workflow_adaptertest.servers.errors import NotAvailableError
from workflow_adaptertest.servers.place import Tools

__all__ = ["Download", "GoProgram", "MavenJars", "PrivateDebian", "Recipe", "SystemPackages", "run"]

_POLICY = Path("/usr/sbin/policy-rc.d")
_STAMP = "complete"
_SECONDS = 600.0


class Recipe(ABC):
    """One thing that a server needs on the machine."""

    @abstractmethod
    def missing(self, tools: Tools) -> str:
        """What is not there and how to get it, in half a sentence; empty if nothing is missing."""


@dataclass(frozen=True)
class SystemPackages(Recipe):
    """Programs out of the system's packages.

    Attributes:
        names: the packages, by their names in Debian.
        programs: what has to be found for them to count as installed.
        folders: patterns of further folders with programs.
    """

    names: tuple[str, ...]
    programs: tuple[str, ...]
    folders: tuple[str, ...] = ()

    def missing(self, tools: Tools) -> str:
        absent = [name for name in self.programs if tools.program(name, *self.folders) is None]
        if not absent:
            return ""
        return f"no {' and no '.join(absent)} here; as root: apt-get install {' '.join(self.names)}"

    @staticmethod
    def install(names: Sequence[str]) -> None:
        """Installs packages, and starts none of the services that they bring.

        Raises:
            NotAvailableError: not root, not Debian, or the tool's own last words.
        """
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise NotAvailableError(f"as root on Debian: apt-get install {' '.join(names)}")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        waiting = ["-o", "DPkg::Lock::Timeout=120"]
        with _services_stay_down():
            run(["apt-get", "update"], environment=quiet)
            command = ["apt-get", *waiting, "install", "-y", "--no-install-recommends", *names]
            run(command, environment=quiet)


class Download(Recipe):
    """Something in a folder of our own, which is either complete or made anew.

    Attributes:
        name: of the folder, with the version: another version is another folder.
        tools_first: what the download itself is made with.
    """

    name: str
    tools_first: tuple[SystemPackages, ...] = ()

    def folder(self, tools: Tools) -> Path:
        return tools.folder / self.name

    def missing(self, tools: Tools) -> str:
        if self.folder(tools).joinpath(_STAMP).exists():
            return ""
        return f"{self.name} is not installed; scripts/services install gets it"

    def install(self, tools: Tools) -> None:
        """Downloads it, unless it is there.

        Raises:
            NotAvailableError: it cannot be had; with the last words of the tool that failed.
        """
        folder = self.folder(tools)
        if folder.joinpath(_STAMP).exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._fill(folder)
        folder.joinpath(_STAMP).touch()

    @abstractmethod
    def _fill(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class MavenJars(Download):
    """Java archives and all that they need, copied into ``lib`` by Maven.

    Attributes:
        artifacts: group, artifact and version of each.
    """

    name: str
    artifacts: tuple[tuple[str, str, str], ...]
    tools_first: tuple[SystemPackages, ...] = (
        SystemPackages(("maven", "default-jdk-headless"), ("mvn",)),
    )

    def _fill(self, folder: Path) -> None:
        wanted = "".join(
            f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version></dependency>"
            for group, artifact, version in self.artifacts
        )
        folder.joinpath("pom.xml").write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            "<groupId>servers</groupId><artifactId>servers</artifactId><version>1</version>"
            f"<packaging>pom</packaging><dependencies>{wanted}</dependencies></project>",
            encoding="utf-8",
        )
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}"]
        run(["mvn", "-q", "-B", *goal], folder=folder)


@dataclass(frozen=True)
class GoProgram(Download):
    """A program that the Go tool builds from its module.

    Attributes:
        package: the program's package in the module, with a version.
    """

    name: str
    package: str
    tools_first: tuple[SystemPackages, ...] = (SystemPackages(("golang-go",), ("go",)),)

    def _fill(self, folder: Path) -> None:
        run(["go", "install", self.package], folder=folder, environment={"GOBIN": str(folder)})


@dataclass(frozen=True)
class PrivateDebian(Download):
    """Programs of another release of Debian, beside the system and never mixed into it.

    They bring all their libraries, down to the loader, and are run with these.

    Attributes:
        suite: the release, such as ``sid``.
        packages: what to unpack, with all that it depends on.
    """

    name: str
    suite: str
    packages: tuple[str, ...]
    tools_first: tuple[SystemPackages, ...] = field(default=(), kw_only=True)

    def _fill(self, folder: Path) -> None:
        if shutil.which("apt-get") is None:
            raise NotAvailableError(f"{self.name} is unpacked from Debian's packages: no apt-get")
        for part in ("lists/partial", "cache/archives/partial", "state"):
            folder.joinpath(part).mkdir(parents=True)
        folder.joinpath("status").touch()  # as if nothing were installed: all is to be unpacked
        source = f"deb [signed-by={_KEYRING}] {_mirror()} {self.suite} main\n"
        folder.joinpath("sources.list").write_text(source, encoding="utf-8")
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": folder / "state",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        run(["apt-get", *options, "update"])
        download = ["--no-install-recommends", "--download-only", "-y", "install"]
        run(["apt-get", *options, *download, *self.packages])
        for package in sorted(folder.glob("cache/archives/*.deb")):
            run(["dpkg-deb", "-x", str(package), str(folder / "root")])
        shutil.rmtree(folder / "lists")
        shutil.rmtree(folder / "cache")  # it is all in root/ now


_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a tool to its end, as that user if one is named; answers what it printed.

    Raises:
        NotAvailableError: it failed; with the end of what it said.
    """
    become = pwd.getpwnam(user) if user else None
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            user=become.pw_uid if become else None,
            group=become.pw_gid if become else None,
            extra_groups=[] if become else None,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAvailableError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-40:])
        raise NotAvailableError(f"{' '.join(command)} failed:\n{end}")
    return done.stdout


def _mirror() -> str:
    """The mirror of Debian that this machine already uses."""
    asked = ["--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = run(["apt-get", "indextargets", *asked]).split()
    if not found:
        raise NotAvailableError("no mirror of Debian is configured; run apt-get update once")
    return found[0]


@contextmanager
def _services_stay_down() -> Iterator[None]:
    """A package's service would take the usual port and run for ever; this is Debian's own veto."""
    if _POLICY.exists():
        yield  # somebody decided already
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
