"""Chromium, in which the web UI is tested: found, and installed where it is missing."""

import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-liberation")  # pages need some font


def chromium() -> str | None:
    """The program; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def install() -> None:
    """Installs it, as root on Debian and its kin; elsewhere a person has to."""
    from workflow_adaptertest.servers.errors import NotAvailableError
    from workflow_adaptertest.servers.recipes import SystemPackages

    if chromium() is not None:
        return
    try:
        SystemPackages.install(PACKAGES)
    except NotAvailableError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    install()
