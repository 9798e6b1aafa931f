#!/bin/sh
# Builds the wheel and the source archive of this commit into a folder: dist.sh DIR [PYTHON]
#
# The same commit and the same hatchling give the same bytes: all times are that of the commit. The wheel is made from the
# source archive, so that the archive has all that it needs. PYTHON has the group `dist` of pyproject.toml, so nothing is
# downloaded.
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
out=$1
python=${2:-$project/.venv/bin/python}
cd "$project"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
umask 022
rm -rf "$out"
mkdir -p "$out"
"$python" -m build --no-isolation --outdir "$out" . >"$out/build.log" 2>&1 || { cat "$out/build.log" >&2 && exit 1; }
rm "$out/build.log"
(cd "$out" && sha256sum -- *)
