#!/bin/sh
# The main job on the example that ships with the project: build reef@v1, run its import container without a network,
# verify what came out, and show that a changed byte does not pass. It works in build/demo, which it makes anew.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
work=$project/build/demo

step() { printf '\n%s\n' "$*"; }
run() {
    echo "\$ $*"
    "$@"
}

# Gives podman the settings that it needs where the kernel lets it raise no limits, as in many a sandbox.
sandboxed() {
    cat >containers.conf <<'END'
[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime="runc"
END
    export CONTAINERS_CONF="$work/containers.conf"
}

# Runs the import container with the engine that there is; fails where there is none.
import() {
    image=oci:dist/reef-v1
    if command -v podman >/dev/null; then
        podman run --rm --quiet --network none "$image" --list >/dev/null 2>&1 || sandboxed
        if podman run --rm --quiet --network none "$image" --list >/dev/null 2>&1; then
            run podman run --rm --quiet --network none -v "$work/safe_outputs:/safe_outputs" "$image"
            podman image rm --force localhost/dist/reef-v1 >/dev/null 2>&1 || true
            return
        fi
    fi
    docker version >/dev/null 2>&1 || return
    run datapack build reef@v1 "$@" --to docker-daemon:datapack-demo:v1
    run docker run --rm --network none -v "$work/safe_outputs:/safe_outputs" datapack-demo:v1
    docker image rm --force datapack-demo:v1 >/dev/null
}

if [ -e "$work" ]; then
    chmod -R u+w "$work"
    rm -rf "$work"
fi
mkdir -p "$work/examples" "$work/safe_outputs"
cp "$project/datasets.yml" "$work"
cp -R "$project/examples/reef" "$work/examples"
cd "$work"
git init --quiet
printf '%s\n' .datapack/ dist/ '*.partial/' safe_outputs/ stand-in-base/ containers.conf >.gitignore

step "1. Build the import container"
set --
if ! python3 "$project/examples/reachable.py" https://registry-1.docker.io/v2/; then
    echo "Docker Hub can't be reached: a stand-in base made of busybox takes the place of Alpine."
    python3 "$project/examples/stand_in_base.py" stand-in-base >/dev/null
    set -- --base oci:stand-in-base
fi
run datapack build reef@v1 "$@"

step "2. See what there is, and verify the image"
run datapack list
run datapack verify oci:dist/reef-v1

step "3. Run it as the Safe Haven does: without a network, with a folder for the outputs"
if import "$@"; then
    step "4. Verify what came out"
    run datapack verify safe_outputs/reef/v1
    step "5. Change one byte of it, and verify again"
    picture=$(find safe_outputs/reef/v1/data -name '*.png' | sort | head -n 1)
    chmod u+w "$picture"
    printf 'X' | dd of="$picture" bs=1 seek=1000 conv=notrunc 2>/dev/null
    if run datapack verify safe_outputs/reef/v1; then
        echo "a changed byte was not noticed" >&2
        exit 1
    fi
else
    echo "Neither podman nor docker runs here: the steps that need an engine are left out."
fi
echo
echo "All of it is in build/demo."
