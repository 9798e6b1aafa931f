#!/bin/sh
# Write an SBOM of each trainer image (CycloneDX) to FOLDER, and list the image's known vulnerabilities.
# Usage: scan.sh ENGINE FOLDER IMAGE...      with podman or docker, after the images are built; needs Trivy
# Exit status 1 if an image has a high or critical vulnerability that a newer version fixes.
set -eu

[ $# -gt 2 ] || {
    echo "usage: scan.sh ENGINE FOLDER IMAGE...: is neither podman nor docker installed?" >&2
    exit 2
}
command -v trivy >/dev/null || {
    echo "trivy is not installed, so no image was scanned: see https://trivy.dev" >&2
    exit 1
}
VULNERABLE=9 # Trivy's exit status for such an image: its own errors have 1
engine=$1
folder=$2
shift 2

mkdir -p "$folder"
scratch=$folder/.scan # the leftovers of a killed scan are removed too: an archive is as large as its image
rm -rf "$scratch"
mkdir "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
vulnerable=""
for image in "$@"; do
    version=$(sed -n 's/^ARG [A-Z_]*_VERSION="\(.*\)"$/\1/p' "docker/$image/Dockerfile")
    list=$folder/$image-$version.cdx.json
    "$engine" save --output "$scratch/image.tar" "$image:$version" # Trivy reads an archive of either engine
    trivy image --input "$scratch/image.tar" --format cyclonedx --output "$scratch/list"
    rm "$scratch/image.tar"
    mv "$scratch/list" "$list"
    status=0
    trivy sbom --severity HIGH,CRITICAL --ignore-unfixed --exit-code "$VULNERABLE" "$list" || status=$?
    case $status in
        0) ;;
        "$VULNERABLE") vulnerable="$vulnerable $image:$version" ;;
        *) exit "$status" ;; # Trivy failed, and has printed why
    esac
done
[ -z "$vulnerable" ] || {
    echo "do not release:$vulnerable: use a newer base or newer requirements" >&2
    exit 1
}
