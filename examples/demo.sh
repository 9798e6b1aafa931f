#!/bin/sh
# The main workflow, on the project's example. First datapack alone: build reef@v1, run its import container, verify the
# imported data, push it to a registry, and push the next version. Then install PyTorch, and train a detector on the
# imported data. With the argument tf, nothing is pushed, and TensorFlow trains the detector.
# Everything is in build/demo or build/demo-tf, which each run starts from scratch.
# Usage: demo.sh [pytorch|tf]
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
packages="busybox-static podman runc uidmap"
mode=${*:-pytorch}
case $mode in
    pytorch)
        place=build/demo
        steps=8
        packages="$packages docker-registry"
        settings=train.yml
        framework=.venv/train
        size="PyTorch with CUDA, about 3 GB to download and 5.5 GB on disk"
        ;;
    tf)
        place=build/demo-tf
        steps=6
        settings=train-tf.yml
        framework=.venv/tf
        size="TensorFlow, about 0.6 GB to download and 2.2 GB on disk"
        ;;
    *)
        echo "usage: demo.sh [pytorch|tf]" >&2
        exit 2
        ;;
esac
work=$project/$place
step=0
begin=$(date +%s)
. "$project/examples/engine.sh"

step() {
    now=$(date +%s)
    [ "$step" = 0 ] || echo "    took $((now - step_begin)) s"
    step=$((step + 1))
    step_begin=$now
    printf '\n[%s/%s] %s\n' "$step" "$steps" "$*"
}
run() {
    echo "\$ $*"
    "$@"
}
install() {
    if make --question --no-print-directory -C "$project" "$1"; then
        echo "Already installed."
    else
        make --silent --no-print-directory -C "$project" "$1"
    fi
}

trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Starts an empty registry on loopback; fails if none is installed.
start_registry() {
    command -v docker-registry >/dev/null || return
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >registry.yml <<CONF
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: "$work/registry"}}
http: {addr: "127.0.0.1:$port"}
CONF
    background docker-registry serve registry.yml >registry.log 2>&1
    wait_for python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))"
    registry=127.0.0.1:$port
}

# Pushes the image and the next version of the dataset to a registry on loopback.
push_versions() {
    step "Push it to a registry, and verify it there"
    registry=
    if start_registry; then
        run datapack push reef@v1 "$@" --to "docker://$registry/demo/reef"
        run datapack verify "docker://$registry/demo/reef:v1"
    else
        echo "Skipped, together with the push in the next step: docker-registry is not installed."
    fi

    step "Make the next version, with one corrected label, and see what its push costs"
    mkdir corrected
    sed '0,/"area"/s/"area"/"checked": true, "area"/' examples/reef/train.json >corrected/train.json
    cat >>datasets.yml <<'END_OF_VERSION'
      v2:
        parent: v1
        sources:
          - local: corrected/train.json
          - local: examples/reef/images
            into: images
END_OF_VERSION
    run datapack fetch reef@v2
    run datapack diff reef@v1 reef@v2
    [ -z "$registry" ] || run datapack push reef@v2 "$@" --to "docker://$registry/demo/reef"
    stop
}

step "Install datapack and what it needs: about 105 Python packages, 270 MB"
# shellcheck disable=SC2086 # a list of names
"$project/scripts/system-packages.sh" $packages
install .venv/ready
export PATH="$project/.venv/bin:$PATH"

if [ -e "$work" ]; then
    chmod -R u+w "$work"
    rm -rf "$work"
fi
mkdir -p "$work/examples"
cp "$project/datasets.yml" "$work"
cp -R "$project/examples/reef" "$work/examples"
cd "$work"
git init --quiet
printf '%s\n' .datapack/ dist/ '*.partial/' registry/ stand-in-base/ containers.conf imported/ 'safe_*/' scratch/ >.gitignore

step "Build the import container"
set --
if ! python3 "$project/examples/reachable.py" https://registry-1.docker.io/v2/; then
    echo "Docker Hub can't be reached: a stand-in base made of busybox replaces Alpine."
    python3 "$project/examples/stand_in_base.py" stand-in-base >/dev/null
    set -- --base oci:stand-in-base
fi
run datapack build reef@v1 "$@"
run datapack list
run datapack verify oci:dist/reef-v1

step "Rehearse: run it as the Safe Haven will, without a network, and verify the imported data"
if find_engine; then
    strict=
    [ "$(id -u)" != 0 ] || strict=--strict # a user without a name needs more user IDs than a rootless engine has
    run datapack run reef@v1 $strict --outputs imported "$@"
    stop
    echo "$(($(date +%s) - begin)) s after the start, the import container is built, run and verified."
else
    echo "Neither podman nor docker runs here: the next steps use the dataset as it was built."
    mkdir -p imported/reef
    cp -R data/reef/v1 imported/reef
fi

[ "$mode" = tf ] || push_versions "$@"

step "Install what the trainers need: $size"
install "$framework"

step "Check the imported data against its digest, and train a detector on it, as examples/reef/$settings says"
mkdir -p safe_data safe_outputs scratch # the three folders of a job in the Safe Haven
cp -R imported/reef safe_data
digest=$(sed -n 's/^ *digest: \(sha256:[0-9a-f]*\).*/\1/p' datasets.lock | head -n 1)
sed "s/^digest: .*/digest: $digest/" "examples/reef/$settings" >safe_data/train.yml
run python3 -m trainers check --config safe_data/train.yml --outputs safe_outputs --scratch scratch
run python3 -m trainers train --config safe_data/train.yml --outputs safe_outputs --scratch scratch
run ls -l safe_outputs/*

step "Change one byte of the data: datapack and the trainers both refuse it"
image=$(find safe_data/reef/v1/data -name '*.png' | sort | head -n 1)
chmod u+w "$image"
printf 'X' | dd of="$image" bs=1 seek=1000 conv=notrunc 2>/dev/null
if run datapack verify safe_data/reef/v1 || run python3 -m trainers train --config safe_data/train.yml \
    --outputs safe_outputs --scratch scratch; then
    echo "error: a changed byte was not noticed" >&2
    exit 1
fi

now=$(date +%s)
echo "    took $((now - step_begin)) s"
report=$(echo safe_outputs/*/report.html)
printf '\nDone in %s s. Everything is in %s; the training report is %s.\n' $((now - begin)) "$place" "$place/$report"
