#!/bin/sh
# Keep a list of what is in each of the trainers' images, and look up what is known to be vulnerable in it.
# Usage: scan.sh ENGINE FOLDER IMAGE...      with podman or docker, once the images are built; needs Trivy
# FOLDER gets an SBOM of each image, CycloneDX. Exit status 1 where an image has a grave flaw that a newer version mends.
set -eu

[ $# -gt 2 ] || {
    echo "usage: scan.sh ENGINE FOLDER IMAGE...: is neither podman nor docker installed?" >&2
    exit 2
}
command -v trivy >/dev/null || {
    echo "trivy is not installed: no image was scanned: see https://trivy.dev" >&2
    exit 1
}
FLAWED=9 # what Trivy is to exit with then: its own errors are 1
engine=$1
folder=$2
shift 2

mkdir -p "$folder"
scratch=$folder/.scan # what a killed scan left there goes too: an archive is as large as its image
rm -rf "$scratch"
mkdir "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
flawed=""
for image in "$@"; do
    version=$(sed -n 's/^ARG [A-Z_]*_VERSION="\(.*\)"$/\1/p' "docker/$image/Dockerfile")
    list=$folder/$image-$version.cdx.json
    "$engine" save --output "$scratch/image.tar" "$image:$version" # Trivy reads an archive of either engine
    trivy image --input "$scratch/image.tar" --format cyclonedx --output "$scratch/list"
    rm "$scratch/image.tar"
    mv "$scratch/list" "$list"
    status=0
    trivy sbom --severity HIGH,CRITICAL --ignore-unfixed --exit-code "$FLAWED" "$list" || status=$?
    case $status in
        0) ;;
        "$FLAWED") flawed="$flawed $image:$version" ;;
        *) exit "$status" ;; # it could not look: it has said why
    esac
done
[ -z "$flawed" ] || {
    echo "not fit to be released:$flawed: take a newer base or newer requirements" >&2
    exit 1
}
