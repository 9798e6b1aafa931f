#!/bin/sh
# Log in to a registry. The token comes from the environment and goes through a pipe: no list of processes shows it.
# Docker's file of logins is the one that datapack, podman and actions/attest all read.
# Usage: REGISTRY=ghcr.io/namespace REGISTRY_USER=... REGISTRY_TOKEN=... ENGINE=podman registry-login.sh
set -eu

for name in REGISTRY REGISTRY_USER REGISTRY_TOKEN ENGINE; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || {
        echo "error: $name: no value: set it in the environment" >&2
        exit 2
    }
done
case $ENGINE in
    *podman*)
        mkdir -p "$HOME/.docker"
        set -- --authfile "$HOME/.docker/config.json"
        ;;
    *) set -- ;;
esac
printf '%s' "$REGISTRY_TOKEN" | "$ENGINE" login "$@" --username "$REGISTRY_USER" --password-stdin "${REGISTRY%%/*}"
