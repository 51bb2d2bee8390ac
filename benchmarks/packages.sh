#!/bin/sh
# Installs what `make bench` measures Titan against: the extra `bench` and Debian's redis-server. sh benchmarks/packages.sh PYTHON [SYSTEM_PYTHON]
# What cannot be installed here is left out, and the benchmark reports it as absent: nothing of this is an error.
set -u
python=$1
system=${2:-python3}
if "$python" -m pip --version >/dev/null 2>&1; then pip="$python -m pip"; else pip="$system -m pip --python $python"; fi

install() { # shellcheck disable=SC2086
    $pip install -q --disable-pip-version-check "$@"
}

if ! install -e '.[bench]'; then
    echo "the extra does not install as a whole; trying each peer alone" >&2
    for one in 'celery[redis]' distributed hyperqueue matplotlib numpy parsl ray; do
        install "$one" || echo "left out: $one" >&2
    done
fi

command -v redis-server >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi
{ # RUNLEVEL=1: the package does not start a server of its own; the benchmark starts one and ends it
    $as_root apt-get update -q && $as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends redis-server
} || echo "left out: redis-server, and with it Celery" >&2
exit 0
