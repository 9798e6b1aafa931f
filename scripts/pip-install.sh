#!/bin/sh
# Run pip install in .venv with its output in a log file. If pip fails, show the last lines and name the file.
# Usage: pip-install.sh LOG ARGUMENT...
set -eu

log=$1
shift
echo "Running pip install; its output goes to $log"
.venv/bin/python -m pip install "$@" >"$log" 2>&1 && exit
tail -n 10 "$log" >&2
echo "error: pip install failed; all of its output is in $log" >&2
exit 1
