#!/bin/sh
# The main job on the example that ships with the project: build reef@v1, rehearse its import container, train a detector on
# what was imported, show that a changed byte does not pass, push it to a registry, and push the next version. It works in
# build/demo, which it makes anew.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
work=$project/build/demo
started='' # what runs beside us and ends with us

step() { printf '\n%s\n' "$*"; }
run() {
    echo "\$ $*"
    "$@"
}
stop() { for process in $started; do kill "$process" 2>/dev/null || true; done; }
trap stop EXIT
trap 'exit 130' INT TERM

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

# Finds an engine that runs the image, and serves its API in DOCKER_HOST; fails where there is none.
find_engine() {
    if command -v podman >/dev/null; then
        podman run --rm --quiet --network none oci:dist/reef-v1 --list >/dev/null 2>&1 || sandboxed
        if podman run --rm --quiet --network none oci:dist/reef-v1 --list >/dev/null 2>&1; then
            podman image rm --force localhost/dist/reef-v1 >/dev/null 2>&1 || true
            socket=$(mktemp -u /tmp/datapack-demo-XXXXXX)
            podman system service --time 0 "unix://$socket" >/dev/null 2>&1 &
            started="$started $!"
            export DOCKER_HOST="unix://$socket"
            wait_for test -S "$socket"
            return
        fi
    fi
    docker version >/dev/null 2>&1
}

# Starts an empty registry on loopback; fails where none is installed.
start_registry() {
    command -v docker-registry >/dev/null || return
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >registry.yml <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: "$work/registry"}}
http: {addr: "127.0.0.1:$port"}
END
    docker-registry serve registry.yml >registry.log 2>&1 &
    started="$started $!"
    wait_for python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null
    registry=127.0.0.1:$port
}

wait_for() {
    for _ in $(seq 100); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    return 1
}

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

step "3. Rehearse: run it as the Safe Haven will, without a network, and verify what came out"
if find_engine; then
    strict=
    [ "$(id -u)" != 0 ] || strict=--strict # a user without a name needs more than an ordinary user's engine has
    run datapack run reef@v1 $strict --outputs imported "$@"
else
    echo "Neither podman nor docker runs here: the dataset is taken as it was built."
    mkdir -p imported/reef
    cp -R data/reef/v1 imported/reef
fi

step "4. Check it against its digest, and train a detector on it: 3 epochs to see it work, examples/reef/train.yml has 8"
mkdir -p safe_data safe_outputs scratch # the three folders of a job in the Safe Haven
cp -R imported/reef safe_data
digest=$(sed -n 's/^ *digest: \(sha256:[0-9a-f]*\).*/\1/p' datasets.lock | head -n 1)
sed "s/^digest: .*/digest: $digest/; s/epochs: 8/epochs: 3/" examples/reef/train.yml >safe_data/train.yml
run python3 -m trainers check --config safe_data/train.yml --outputs safe_outputs --scratch scratch
run python3 -m trainers train --config safe_data/train.yml --outputs safe_outputs --scratch scratch
run ls -l safe_outputs/reef

step "5. Change one byte of it: neither datapack nor the trainers take it"
picture=$(find safe_data/reef/v1/data -name '*.png' | sort | head -n 1)
chmod u+w "$picture"
printf 'X' | dd of="$picture" bs=1 seek=1000 conv=notrunc 2>/dev/null
if run datapack verify safe_data/reef/v1 || run python3 -m trainers train --config safe_data/train.yml \
    --outputs safe_outputs --scratch scratch; then
    echo "a changed byte was not noticed" >&2
    exit 1
fi

step "6. Push it to a registry, and verify it there"
if start_registry; then
    run datapack push reef@v1 "$@" --to "docker://$registry/demo/reef"
    run datapack verify "docker://$registry/demo/reef:v1"
    step "7. The next version: one label is corrected. What will it cost? Push it"
    mkdir corrected
    sed '0,/"area"/s/"area"/"checked": true, "area"/' examples/reef/train.json >corrected/train.json
    cat >>datasets.yml <<'END'
      v2:
        parent: v1
        sources:
          - local: corrected/train.json
          - local: examples/reef/images
            into: images
END
    run datapack fetch reef@v2
    run datapack diff reef@v1 reef@v2
    run datapack push reef@v2 "$@" --to "docker://$registry/demo/reef"
else
    echo "No docker-registry is installed here: the steps that need a registry are left out."
fi
echo
echo "All of it is in build/demo; the report of the training is build/demo/safe_outputs/reef/report.html."
