"""Makes `.venv` in the repository's root, with all tools and all members in it, and keeps it so.

Run with any Python from 3.11 on; the environment's interpreter is the one line on standard output,
everything else goes to standard error. A second run only compares a hash.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.members import ROOT, dependency_group, members, read_toml, requirement_name

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.sha256"

# Asks from inside the environment, because that is where the wrong one would be.
WHOSE_CORE = """
import importlib.metadata as metadata, sys
classifiers = metadata.distribution("workflow-core").metadata.get_all("Classifier") or []
sys.exit("Private :: Do Not Upload" not in classifiers)
"""


class SetupError(Exception):
    """Says in a sentence what the person at this machine has to do."""


def ensure() -> Path:
    """Answers the environment's interpreter, up to date."""
    with one_at_a_time():
        wanted = fingerprint()
        if PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
            return PYTHON
        say(f"setting up {VENV.name} with Python {sys.version.split()[0]} …")
        make_venv()
        install()
        STAMP.write_text(wanted, encoding="utf-8")
    return PYTHON


def fingerprint() -> str:
    """A hash over all that decides what is installed, and for which interpreter."""
    groups = read_toml(ROOT / "pyproject.toml")["dependency-groups"]
    parts: list[object] = [sys.version, str(ROOT), groups]
    for member in members():
        parts += [member.name, read_toml(member.folder / "pyproject.toml")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two runs started together must not install into one another's half-made environment."""
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_venv() -> None:
    if PYTHON.exists() and not same_interpreter():
        shutil.rmtree(VENV)
    if PYTHON.exists():
        return
    need_ensurepip()
    run(sys.executable, "-m", "venv", "--clear", str(VENV))


def same_interpreter() -> bool:
    asked = subprocess.run(
        [PYTHON, "-c", "import pip, sys; print(sys.version)"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.returncode == 0 and asked.stdout.strip() == sys.version.strip()


def need_ensurepip() -> None:
    """Debian splits the venv module: without its other half, `python -m venv` ends half-way."""
    if importlib.util.find_spec("ensurepip") is not None:
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"this Python cannot make environments yet: installing {package} …")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", env=quiet)
        run("apt-get", "install", "-y", "--no-install-recommends", package, env=quiet)
        return
    raise SetupError(
        f"This Python cannot make virtual environments: install {package}"
        f" (as root: apt-get install {package}), then run this again."
    )


def install() -> None:
    """All tools and all members in one command, so no sibling is ever looked up by its name.

    Some of the siblings' names belong to strangers on the public index: an installer that meets one
    without its file beside it fetches theirs.
    """
    tools = dependency_group("dev")
    uv = next(tool for tool in tools if requirement_name(tool) == "uv")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", uv)
    editables: list[str] = []
    for member in members():
        complete_enough_to_install(member.source / member.package)
        editables += ["--editable", member.with_extras(str(member.folder))]
        # else an earlier build may be taken from uv's cache, with its old entry points
        editables += ["--reinstall-package", member.name]
    install = ["-m", "uv", "pip", "install", "--quiet", "--python", str(PYTHON)]
    run(PYTHON, *install, *editables, *tools, env=uv_environment(PYTHON))
    if subprocess.run([PYTHON, "-c", WHOSE_CORE], check=False).returncode:
        raise SetupError(f"workflow-core in {VENV.name} is a stranger's: remove {VENV.name}.")


def complete_enough_to_install(package: Path) -> None:
    """An editable install of an empty folder succeeds, and nothing can be imported from it."""
    if not (package / "__init__.py").is_file():
        where = package.relative_to(ROOT)
        raise SetupError(f"{where} has no __init__.py: a package is named after its project.")


def uv_environment(python: str | Path) -> dict[str, str]:
    """The environment for uv: what this machine's pip is configured with, uv does not read.

    A machine behind a mirror or with its own certificates usually has only pip set up for it.
    """
    return {**pip_settings(str(python)), **os.environ}


@cache
def pip_settings(python: str) -> dict[str, str]:
    """Pip's settings under the names that uv knows them by."""
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = dict(re.findall(r"^[^=]*?\.([a-z-]+)='(.*)'$", listed, flags=re.MULTILINE))
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "trusted-host": "UV_INSECURE_HOST",
        "cert": "SSL_CERT_FILE",
        "proxy": "ALL_PROXY",
    }
    return {
        name: settings[key].replace("\\n", " ").strip()
        for key, name in names.items()
        if key in settings
    }


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise SetupError(f"This did not work: {' '.join(words)}")


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(ensure())
    except SetupError as problem:
        sys.exit(str(problem))
