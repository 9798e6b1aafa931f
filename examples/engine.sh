# Finds a container engine that runs images here, for the demo and for scripts/try-wheel.sh, which source this file.
# They have the image's archive in dist/reef-v1, set $work to their folder, and call `stop` at their end.
# shellcheck shell=sh
: "${work:?}"
started='' # processes that run in the background and are stopped at the end
sockets=

# Starts a program in the background. If this script is killed, the kernel stops the program.
background() {
    if command -v setpriv >/dev/null; then set -- setpriv --pdeathsig TERM -- "$@"; fi
    "$@" &
    started="$started $!"
}
stop() {
    for process in $started; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    started=''
    [ -z "$sockets" ] || rm -rf "$sockets"
}

wait_for() {
    for _ in $(seq 100); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    return 1
}

# Gives podman the settings that it needs where the kernel lets it raise no limits, as in many sandboxes.
sandboxed() {
    cat >"$work/containers.conf" <<'CONF'
[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime="runc"
CONF
    export CONTAINERS_CONF="$work/containers.conf"
}

podman_runs() { podman run --rm --quiet --network none oci:dist/reef-v1 --list >/dev/null 2>&1; }

# Finds an engine that runs the image, and serves its API in DOCKER_HOST; fails where there is none.
find_engine() {
    if command -v podman >/dev/null; then
        podman_runs || sandboxed
        if podman_runs; then
            podman image rm --force localhost/dist/reef-v1 >/dev/null 2>&1 || true
            sockets=$(mktemp -d /tmp/datapack-demo-XXXXXX) # nobody else can put a socket there
            background podman system service --time 0 "unix://$sockets/podman.sock" >/dev/null 2>&1
            export DOCKER_HOST="unix://$sockets/podman.sock"
            wait_for test -S "$sockets/podman.sock"
            return
        fi
    fi
    docker version >/dev/null 2>&1
}
