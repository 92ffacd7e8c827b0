"""Programs that tests need beside the servers: found, and installed where they are missing."""

import shutil
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """One of them, by the names that it may have, and the packages of Debian that bring it."""

    names: tuple[str, ...]
    packages: tuple[str, ...]

    def path(self) -> str | None:
        """Where it is; None where it is not."""
        return next((found for name in self.names if (found := shutil.which(name))), None)


CHROMIUM = Program(
    ("chromium", "chromium-browser", "google-chrome"),
    ("chromium", "fonts-liberation"),  # pages need some font
)
PROMETHEUS = Program(("prometheus",), ("prometheus",))
PROMTOOL = Program(("promtool",), ("prometheus",))
ALL = (CHROMIUM, PROMETHEUS, PROMTOOL)


def install() -> None:
    """Installs what is missing, as root on Debian and its kin; elsewhere a person has to."""
    from workflow_adaptertest.servers.errors import NotAvailableError
    from workflow_adaptertest.servers.recipes import SystemPackages

    missing = [name for each in ALL if each.path() is None for name in each.packages]
    if not missing:
        return
    try:
        SystemPackages.install(list(dict.fromkeys(missing)))
    except NotAvailableError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    install()
