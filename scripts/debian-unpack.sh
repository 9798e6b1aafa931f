#!/bin/sh
# Unpack packages of any Debian release into a new folder. Nothing is installed, and the system's package lists stay as
# they are. apt checks the signatures.
# Usage: debian-unpack.sh RELEASE FOLDER PACKAGE...
set -eu

release=$1 folder=$2
shift 2
keys=/usr/share/keyrings/debian-archive-keyring.gpg
fail() {
    echo "$* of Debian $release can't be downloaded: $why" >&2
    exit 1
}
for program in apt-get dpkg-deb; do
    why="$program is missing"
    command -v "$program" >/dev/null || fail "$@"
done
why="$keys is missing"
[ -e "$keys" ] || fail "$@"

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work" # apt may download as a user of its own
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$work/files"
echo "deb [signed-by=$keys] http://deb.debian.org/debian $release main" >"$work/sources.list"
apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists" \
        -o Dir::Cache="$work/cache" -o Acquire::Languages=none -o APT::Update::Error-Mode=any \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@" >"$work/log" 2>&1
}
if ! apt update || ! (cd "$work/packages" && apt download "$@"); then
    why=$(sed -n '/^E: /{s///p;q}' "$work/log")
    fail "$@"
fi
for package in "$work/packages"/*.deb; do
    dpkg-deb --extract "$package" "$work/files"
done
mv -T "$work/files" "$folder" 2>/dev/null || [ -e "$folder" ] # another run may have been faster
