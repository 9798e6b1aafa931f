#!/bin/sh
# Install missing Debian packages if we are root; otherwise name them and continue without them.
# Usage: system-packages.sh PACKAGE...
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian or Ubuntu. Steps that need a missing program of these packages are skipped: $*" >&2
    exit
fi
missing=
for package in "$@"; do
    case $package in # Docker's own packages have these programs too, and can't be installed beside Debian's
        docker.io) ! command -v dockerd >/dev/null || continue ;;
        runc) ! command -v runc >/dev/null || continue ;;
    esac
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    echo "Installing Debian packages:$missing"
    # shellcheck disable=SC2086 # a list of names
    if apt-get update -qq >"$log" 2>&1 && # no-remove: Docker's own packages stay, if they are installed
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-remove --no-install-recommends $missing >"$log" 2>&1; then
        exit
    fi
    tail -n 5 "$log" >&2
fi
echo "Missing Debian packages; steps that need them are skipped. To install them: sudo apt-get install$missing" >&2
