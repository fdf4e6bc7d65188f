# What scripts/test and scripts/demo share; sourced in the root of the checkout. For bash 3.2 (macOS) and later.

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# make_venv [INDEX]: makes .venv with vidscale and its tools in it, unless it is there and up to date.
# INDEX is the address of one more package index for pip.
make_venv() {
    local stamp=.venv/vidscale-installed python=.venv/bin/python quiet=--quiet found
    if [ -f "$stamp" ] && installed_state | cmp -s - "$stamp"; then
        return
    fi
    if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$PWD" ]; then
        rm -rf .venv # came here from another place, which its programs still name
    fi
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        found=$(find_python)
        new_venv "$found"
    fi
    rm -f "$stamp"
    if [ -n "${1:-}" ]; then
        # Not as an argument: an address may hold a password, and arguments are seen in every list of processes.
        PIP_EXTRA_INDEX_URL="$(extra_indexes) $1"
        export PIP_EXTRA_INDEX_URL
    fi
    if [ -t 1 ]; then
        quiet=
    fi
    echo 'installing into .venv; the first time this takes some minutes'
    "$python" -m pip install $quiet --constraint constraints.txt --editable '.[dev]'
    # pip leaves the cache of compiled filters of an earlier plain install, and Python would take that for the package.
    rm -rf "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vidscale"
    installed_state >"$stamp"
}

# What .venv depends on.
installed_state() {
    echo "$PWD"
    cat pyproject.toml constraints.txt
}

# Prints the first Python on PATH that is new enough.
find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    fail 'Python 3.11 or newer is needed, and none is on PATH'
}

# new_venv PYTHON: makes .venv; with the pip of PYTHON where it comes without one to put in (Debian splits it off).
new_venv() {
    if "$1" -c 'import ensurepip' 2>/dev/null; then
        "$1" -m venv --clear .venv
    else
        "$1" -m venv --clear --without-pip .venv
        "$1" -m pip --python .venv/bin/python install --quiet pip
    fi
}

# Prints the indexes that pip is set up to use beside its first one: the variable that adds one more replaces them.
extra_indexes() {
    .venv/bin/python -m pip config list | sed -nE "s/^.*\.extra-index.url='(.*)'\$/\1/p" | sed 's/\\n/ /g' | tr '\n' ' '
}
