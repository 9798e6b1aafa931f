#!/bin/sh
# Installs a wheel into an empty environment outside this folder, and runs the first half of the demo from there: build
# the example's import container, look at its data, verify it, and run it if there is an engine. If this checkout has mypy,
# it also checks the example for notebooks against the types of the installed wheel. try-wheel.sh WHEEL
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
wheel=$(readlink -f "$1")
work=$(mktemp -d)
. "$project/examples/engine.sh"
trap 'stop; chmod -R u+w "$work"; rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
mkdir -p "$work/reef/examples"
cp "$project/datasets.yml" "$project/examples/notebook.py" "$work/reef"
cp -R "$project/examples/reef" "$work/reef/examples"
python3 "$project/examples/stand_in_base.py" "$work/base" >/dev/null
cd "$work/reef"
git init --quiet
export PATH="$work/venv/bin:$PATH"
unset PYTHONPATH
set -- --base "oci:$work/base"
run() {
    echo "\$ $*"
    "$@"
}
run datapack --version
run datapack build reef@v1 "$@"
run datapack verify oci:dist/reef-v1
run datapack report reef@v1
run python -c 'import datapack; print(datapack.check("reef@v1"))'
if [ -x "$project/.venv/bin/mypy" ]; then
    run "$project/.venv/bin/mypy" --strict --python-executable "$work/venv/bin/python" notebook.py
fi
if find_engine; then
    strict=
    [ "$(id -u)" != 0 ] || strict=--strict # as in the demo
    run datapack run reef@v1 $strict --outputs imported "$@"
    run datapack verify imported/reef/v1
else
    echo "Neither podman nor docker runs here: the import container was not run."
fi
