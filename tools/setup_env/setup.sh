#!/bin/sh
# Find a suitable Python and let it set up .venv (see install.py beside this).
#
# PYTHON=python3.12 make setup   uses that interpreter; without PYTHON an existing .venv
# keeps its own, otherwise python3 is taken or, if unsuitable, the newest that suits.
unset PYTHONPATH PYTHONHOME
cd "$(dirname "$0")/../.." || exit 2

fits() {  # fits PYTHON [MODULE]: right version, and MODULE is there
    "$1" -c "import sys, ${2:-os}; sys.exit(not (3, 10) <= sys.version_info < (3, 13))" \
        >/dev/null 2>&1
}

newest() {  # newest [MODULE]: print the first candidate that fits
    for candidate in python3 python3.12 python3.11 python3.10 /usr/bin/python3; do
        if fits "$candidate" "$1"; then
            echo "$candidate"
            return
        fi
    done
}

if [ -n "${PYTHON:-}" ]; then
    if ! fits "$PYTHON"; then
        echo "error: PYTHON=$PYTHON does not run as Python 3.10, 3.11 or 3.12" >&2
        exit 2
    fi
    python=$PYTHON
elif fits .venv/bin/python; then
    python=$(.venv/bin/python -c "import sys; print(sys._base_executable)")
else
    # One that can create environments, else any: install.py says what it lacks.
    python=$(newest ensurepip)
    [ -n "$python" ] || python=$(newest)
fi
if [ -z "$python" ]; then
    echo "error: no Python 3.10, 3.11 or 3.12 found:" \
        "sudo apt-get install python3 python3-venv python3-dev (or set PYTHON=...)" >&2
    exit 2
fi
exec "$python" tools/setup_env/install.py
