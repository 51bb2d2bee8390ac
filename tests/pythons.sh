#!/bin/sh
# Runs the unit tests with each further Python of this machine: 3.12, 3.13, 3.14. Prints those that are not there.
# usage: tests/pythons.sh [VERSION ...]
set -u
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 3.12 3.13 3.14
status=0 tried=0
find_python() {
    for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
}
for version in "$@"; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "Python $version: not on this machine"
        continue
    fi
    tried=$((tried + 1))
    place=.venv/python$version
    if [ ! -e "$place/.installed" ] || [ pyproject.toml -nt "$place/.installed" ]; then
        "$python" -m venv "$place" && "$place/bin/python" -m pip install -q --disable-pip-version-check -e '.[dev]' || { status=1; continue; }
        touch "$place/.installed"
    fi
    echo "Python $version: $("$place/bin/python" -V)"
    "$place/bin/python" -m pytest tests/unit tests/architecture -q -n "${PARALLEL_PYTHONS:-3}" --dist worksteal || status=1
done
echo "$tried of $# further versions tested"
exit $status
