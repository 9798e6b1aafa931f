#!/bin/sh
# Run pip install in .venv, with pip's output in a log file. If it fails, show the last lines and name the file.
# Usage: pip-install.sh LOG ARGUMENT...
set -eu

log=$1
shift
.venv/bin/python -m pip install "$@" >"$log" 2>&1 && exit
tail -n 10 "$log" >&2
echo "error: pip install failed; all of pip's output is in $log" >&2
exit 1
