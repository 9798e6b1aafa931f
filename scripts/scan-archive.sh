#!/bin/sh
# Scan the archive of one image, before it is pushed, or write its SBOM (CycloneDX). Trivy reads archives of all engines.
# Usage: scan-archive.sh scan ARCHIVE
#        scan-archive.sh sbom ARCHIVE FILE
# Exit status 9 if the image has a high or critical vulnerability that a newer version fixes, or a secret in it.
set -eu

[ $# -gt 1 ] || {
    echo "usage: scan-archive.sh scan ARCHIVE | sbom ARCHIVE FILE" >&2
    exit 2
}
command -v trivy >/dev/null || {
    echo "error: trivy is not installed, so nothing was scanned: run 'make .venv/trivy'" >&2
    exit 1
}
[ -f "$2" ] || {
    echo "error: $2: no such archive: run 'make image-build' first" >&2
    exit 1
}
case $1 in
    scan)
        trivy image --quiet --input "$2" --severity HIGH,CRITICAL --ignore-unfixed --exit-code 9
        ;;
    sbom)
        trivy image --quiet --input "$2" --format cyclonedx --output "$3.new"
        mv "$3.new" "$3"
        ;;
    *) exit 2 ;;
esac
