"""The commands of the checks, said once for `scripts/test` and for nox.

Each answers a list of commands as words after the interpreter; those for mypy come with the
environment variable that they need.
"""

from pathlib import Path

from lib.members import ROOT, members

Command = tuple[list[str], dict[str, str]]

# everything of the repository itself that is Python and belongs to no member
OWN = ["conftest.py", "noxfile.py", "scripts", "tests"]


def style() -> list[Command]:
    return [(["-m", "ruff", "check", str(ROOT)], {})]


def format_() -> list[Command]:
    return [(["-m", "ruff", "format", "--check", str(ROOT)], {})]


def imports() -> list[Command]:
    # the tool has no `python -m` of its own
    lint_imports = "from importlinter.cli import lint_imports_command as main; main()"
    return [(["-c", lint_imports, "--config", str(ROOT / "pyproject.toml")], {})]


def types() -> list[Command]:
    """One mypy call per member: in a single one, same-named test modules would clash."""
    commands = [
        mypy([member.source, member.tests], bases=[member.source, member.folder])
        for member in members()
    ]
    own = [ROOT / name for name in OWN]
    users = [ROOT / name for name in ("examples", "benchmarks")]
    commands += [
        mypy([folder], bases=[*folder.glob("*/src"), folder])
        for folder in users
        if any(folder.rglob("*.py"))
    ]
    return [*commands, mypy(own, bases=[ROOT / "scripts", ROOT])]


def mypy(paths: list[Path], *, bases: list[Path]) -> Command:
    wanted = [str(path) for path in paths if path.is_file() or any(path.rglob("*.py"))]
    config = ["--config-file", str(ROOT / "pyproject.toml")]
    return ["-m", "mypy", *config, *wanted], {"MYPYPATH": ":".join(str(base) for base in bases)}


def site(output: Path) -> list[str]:
    """Builds the documentation's site anew; any warning fails it, after all are told."""
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--fresh-env"]
    where = ["--conf-dir", str(ROOT / "scripts" / "site"), str(ROOT), str(output)]
    return ["-m", "sphinx", *strict, *where]


def servers() -> list[str]:
    """The command for the real servers, as `scripts/services` has it; its own words follow."""
    return ["-m", "workflow_adaptertest.servers", "--folder", str(ROOT / ".services")]


def servers_of_adapters() -> list[str]:
    """Runs what follows with the servers that the adapters' tests use: all but Kafka's cluster.

    That is for the repository's own tests, and three processes that nobody else would ask.
    """
    plain = ["postgres", "mysql", "mariadb", "redis", "etcd", "kafka"]
    variants = ["postgres-replica", "postgres-secure", "redis-cluster", "etcd-cluster"]
    variants += ["mysql-replica", "mariadb-replica", "kafka-secure", "toxiproxy"]
    disks = [f"{name}-small-disk" for name in ("postgres", "mysql", "mariadb", "etcd")]
    return [*servers(), "run", *plain, *variants, *disks, "--"]


def programs() -> list[Command]:
    """Installs what tests need beside the servers, such as a browser."""
    return [([str(ROOT / "scripts" / "lib" / "programs.py")], {})]


def servers_beside(name: str) -> dict[str, str]:
    """The environment of tests that run beside others and start servers of their own."""
    folder = ROOT / ".services" / name
    folder.mkdir(parents=True, exist_ok=True)
    installed = folder / "installed"
    if not installed.is_symlink():
        installed.symlink_to(Path("..") / "installed")
    return {"WORKFLOW_TEST_SERVERS": str(folder)}


def typing_tests(python: str | Path) -> list[Command]:
    """What the second checker says of the public API as the typing tests use it.

    The files are named one by one, because it succeeds on a pattern that matches nothing; and so is
    the interpreter, because it would take the first on the PATH.
    """
    folders = [member.tests / "typing" for member in members()]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    # bad*: planted mistakes; the typing tests themselves assert that each one is refused
    wanted = [str(file) for file in files if not file.name.startswith("bad")]
    options = ["--project", str(ROOT / "pyproject.toml"), "--pythonpath", str(python)]
    return [(["-m", "basedpyright", *options, *wanted], {})] if wanted else []
