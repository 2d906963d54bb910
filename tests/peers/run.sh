#!/bin/sh
# The experiments of docs/reliability.md for others, on this machine: tests/peers/run.sh [RUNS]
cd "$(dirname "$0")" || exit 1
runs=${1:-3}
missing=0
uname -sr
if command -v python3 >/dev/null; then
    python3 python_pools.py --runs "$runs" || exit 1
else
    echo "SKIPPED: Python is not installed (python3)"
    missing=1
fi
if command -v escript >/dev/null; then
    for _ in $(seq "$runs"); do
        escript erlang_casts.escript || exit 1
    done
else
    echo "SKIPPED: Erlang is not installed (Debian: erlang-base)"
    missing=1
fi
exit $((missing * 3))
