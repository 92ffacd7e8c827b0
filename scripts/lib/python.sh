# shellcheck shell=bash
# To be sourced: finds a Python for this repository, on a machine that may have nothing but bash.
#
#   find_python      prints an interpreter of the machine, 3.11 or later ($PYTHON wins)
#   project_python   prints the interpreter of .venv in the repository's root, having made the
#                    environment, or brought it up to date, if need be

repository_root() {
    (cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
}

is_new_enough() {
    # asks the interpreter itself: a pyenv shim is on the PATH even where no version stands behind it
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 </dev/null
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" && command -v "$PYTHON" && return
        echo "PYTHON=$PYTHON is no Python 3.11 or later." >&2
        return 1
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "No Python 3.11 or later found: installing the system's python3." >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update >&2 </dev/null
        apt-get install -y --no-install-recommends python3 python3-venv >&2 </dev/null
        if is_new_enough python3; then
            command -v python3
            return
        fi
    fi
    echo "Python 3.11 or later is needed: install it, or name one with PYTHON=/path/to/python." >&2
    return 1
}

project_python() {
    local root python
    root=$(repository_root)
    python=$root/.venv/bin/python
    # what is there stays, whichever Python comes first on the PATH today, unless one is asked for
    if [ -n "${PYTHON:-}" ] || ! is_new_enough "$python" || ! "$python" -c 'import pip' 2>/dev/null; then
        python=$(find_python) || return 1
    fi
    "$python" "$root/scripts/lib/environment.py" </dev/null
}
