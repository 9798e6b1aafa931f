#!/bin/sh
# The main job on the example that ships with the project: build reef@v1, run its import container without a network, verify
# what came out, and show that a changed byte does not pass. It works in build/demo, which it makes anew.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
work=$project/build/demo
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

[ ! -e "$work" ] || { chmod -R u+w "$work"; rm -rf "$work"; }
mkdir -p "$work/examples" "$work/safe_outputs"
cp "$project/datasets.yml" "$work"
cp -r "$project/examples/reef" "$work/examples"
cd "$work"

step "1. Build the import container"
base=
if ! python3 -c 'import urllib.request as r, urllib.error as e
try: r.urlopen("https://registry-1.docker.io/v2/", timeout=5)
except e.HTTPError: pass' 2>/dev/null; then
    echo "Docker Hub can't be reached: a stand-in base, made of busybox, takes the place of Alpine."
    python3 "$project/examples/stand_in_base.py" stand-in-base >/dev/null
    base="--base oci:stand-in-base"
fi
# shellcheck disable=SC2086 # an option and its value, or nothing
run datapack build reef@v1 $base

step "2. What the catalog's folder holds now"
run datapack list

step "3. Verify the image"
run datapack verify oci:dist/reef-v1

step "4. Run it as the Safe Haven does: no network, a folder for the outputs"
if engine=$(command -v podman || command -v docker); then
    [ -z "${DEMO_CONTAINERS_CONF:-}" ] || export CONTAINERS_CONF="$DEMO_CONTAINERS_CONF"
    run datapack build reef@v1 $base --to oci-archive:reef-v1.tar >/dev/null 2>&1
fi
