"""What CI runs, always against built wheels; `nox --list` tells the sessions.

The wheels are built once per nox run and every install gets the constraints file that pins each
sibling to its file: some of the siblings' names belong to strangers on the public index.
"""

import os
import sys
from functools import cache
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from lib import checks, cores, wheels
from lib.environment import uv_environment
from lib.members import ROOT, dependency_group, members

nox.options.default_venv_backend = "uv|venv"
nox.options.sessions = ["lint", "types", "tests", "packaging", "cores"]
os.environ.update(uv_environment(sys.executable))

NAMES = [member.name for member in members()]
BY_NAME = {member.name: member for member in members()}


@cache
def dist(python: Path) -> Path:
    """The folder with this run's wheels: built on first use, unless BUILT_WHEELS names one."""
    if "BUILT_WHEELS" in os.environ:
        return Path(os.environ["BUILT_WHEELS"])
    folder = ROOT / "dist"
    wheels.build_all(folder, python)
    return folder


def install_wheels(session: nox.Session, *names: str, groups: tuple[str, ...] = ()) -> None:
    """These members, with all their extras, from this run's wheels; and dependency groups."""
    if "BUILT_WHEELS" not in os.environ:
        session.install("build", "uv")
    folder = dist(Path(session.bin) / "python")
    wanted = [BY_NAME[name].with_extras(name) for name in names]
    tools = [requirement for group in groups for requirement in dependency_group(group)]
    session.install("--constraint", str(folder / wheels.PINS), *wanted, *tools)


def run_all(session: nox.Session, commands: list[checks.Command]) -> None:
    for words, env in commands:
        session.run("python", *words, env=env)


def run_pytest(session: nox.Session, folder: Path, report: str, *only: str) -> None:
    """Away from the tree, so that only what is installed can be imported."""
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    if "TEST_REPORTS" in os.environ:
        options.append(f"--junitxml={Path(os.environ['TEST_REPORTS']) / report}.xml")
    if "TEST_CARDS" in os.environ and not only:
        options.append(f"--contract-card={Path(os.environ['TEST_CARDS']) / report}")
    session.chdir(session.create_tmp())
    session.run("python", "-m", "pytest", *options, *(only or [str(folder)]), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format and the direction of imports."""
    install_wheels(session, *NAMES, groups=("dev",))
    run_all(session, [*checks.style(), *checks.format_(), *checks.imports()])


@nox.session
def types(session: nox.Session) -> None:
    """Mypy on everything, and the second checker on the public API."""
    install_wheels(session, *NAMES, groups=("dev",))
    python = Path(session.bin) / "python"
    run_all(session, [*checks.types(), *checks.typing_tests(python)])


@nox.session
@nox.parametrize("name", NAMES, ids=NAMES)
def tests(session: nox.Session, name: str) -> None:
    """The tests of one wheel, with as little beside it as its users have."""
    install_wheels(session, name, "workflow-adaptertest", groups=("test",))
    run_pytest(session, BY_NAME[name].tests, report=name)


@nox.session(name="cores")
def released_cores(session: nox.Session) -> None:
    """The contracts of each member on the released cores that its range allows."""
    pairs = cores.pairs()
    if not pairs:
        session.log("every range begins with this tree's core, and there is no release")
    for member, core in pairs:
        if "BUILT_WHEELS" not in os.environ:
            session.install("build", "uv")
        scratch = Path(session.create_tmp())
        pins = cores.pins_with(core, dist(Path(session.bin) / "python"), scratch)
        wanted = [member.with_extras(member.name), "workflow-adaptertest"]
        session.install("--constraint", str(pins), *wanted, *dependency_group("test"))
        run_pytest(session, member.tests, f"{member.name}-on-{core}", *cores.contracts(member))


@nox.session
def packaging(session: nox.Session) -> None:
    """The repository's own tests: wheels, sdists, licences, names, rules of the tree."""
    install_wheels(session, *NAMES, groups=("dev",))
    session.env["BUILT_WHEELS"] = str(dist(Path(session.bin) / "python"))
    run_pytest(session, ROOT / "tests", report="packaging")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in build/site; a warning fails it."""
    session.install(*dependency_group("docs"))
    session.run("python", *checks.site(ROOT / "build" / "site"))
