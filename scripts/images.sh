#!/bin/sh
# Build the trainer images from their Dockerfiles; each is tagged with the version in its Dockerfile.
# Usage: images.sh ENGINE IMAGE...      with podman or docker, in the project's folder, after the weights are fetched and the docs are built
set -eu

[ $# -gt 1 ] || {
    echo "usage: images.sh ENGINE IMAGE...: is neither podman nor docker installed?" >&2
    exit 2
}
engine=$1
shift

[ -f build/docs/index.html ] || {
    echo "build/docs: the images contain the docs, which are not built: run 'make docs' first" >&2
    exit 1
}
for image in "$@"; do
    dockerfile=docker/$image/Dockerfile
    grep -Eq '^ARG BASE=".*@sha256:[0-9a-f]{64}"$' "$dockerfile" || {
        echo "$dockerfile: the base is not pinned by its digest: run 'make pin' first" >&2
        exit 1
    }
done
for image in "$@"; do
    dockerfile=docker/$image/Dockerfile
    version=$(sed -n 's/^ARG [A-Z_]*_VERSION="\(.*\)"$/\1/p' "$dockerfile")
    DOCKER_BUILDKIT=1 "$engine" build --platform linux/amd64 --file "$dockerfile" --tag "$image:$version" .
done
