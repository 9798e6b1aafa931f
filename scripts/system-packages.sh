#!/bin/sh
# Install Debian packages where we may; otherwise say which are missing, and go on without.
# Usage: system-packages.sh PACKAGE...
set -eu

missing=
for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    echo "installing:$missing"
    # shellcheck disable=SC2086 # a list of names
    if apt-get update -qq >"$log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing >"$log" 2>&1; then
        exit 0
    fi
    tail -n 5 "$log" >&2
fi
echo "not installed:$missing. What needs them is left out; as root: apt-get install$missing" >&2
