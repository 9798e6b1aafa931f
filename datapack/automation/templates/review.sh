#!/bin/sh
# What a reviewer reads of a change: the plan, the check and the difference of every version that it adds or changes, as
# Markdown on standard output. It runs in any clone: ci/review.sh main
# Usage: review.sh COMMIT [VISIBILITY]      VISIBILITY is public, internal or private: who can read this job
#
# It needs no secret, so that a change from a fork is reviewed like any other. What the change contains is foreign text: each
# answer is indented, and nothing in an indented block can become a heading, a link or a command of the service.
set -eu

before=$1
visibility=${2:-private}
most=${REVIEW_BYTES:-2000000000} # of a version that is fetched to check it; larger ones are planned only

answer() { # indents what a command says, and whether it failed
    if "$@" >"$work/answer" 2>&1; then status=0; else status=$?; fi
    printf '\n'
    head -c 60000 "$work/answer" | tr -d '\033\r' | sed 's/^/    /'
    printf '\n'
    return "$status"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

echo "## What this change does to the datasets"
echo
echo "No secret was used, so this is the same for a change from a fork: data that needs a login is not fetched here."
if ! datapack list "--since=$before" --names >"$work/changed" 2>"$work/error"; then
    sed 's/^/    /' "$work/error"
    exit 1
fi
[ -s "$work/changed" ] || echo "It changes no version."
datapack list --names >"$work/all"

failed=0
while read -r version; do
    printf '\n### %s\n\nPlan:\n' "$version"
    answer datapack plan "$version" --visibility "$visibility" || {
        printf '\nIt can not be built here, or not by this job; the last lines say why.\n'
        grep -q '^error: ' "$work/answer" && failed=1
        continue
    }
    needed=$(datapack plan "$version" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["fetch"]["bytes"])')
    if [ "$needed" = None ] || [ "$needed" -gt "$most" ]; then
        printf '\nIt is too large to fetch here, or its size is unknown: run datapack check and datapack diff on a machine with room.\n'
        continue
    fi
    if ! datapack --quiet fetch "$version" >"$work/answer" 2>&1; then
        printf '\nIt can not be fetched:\n'
        answer cat "$work/answer"
        failed=1
        continue
    fi
    printf '\nCheck:\n'
    answer datapack --quiet check "$version" || failed=1
    previous=$(grep "^${version%@*}@" "$work/all" | sed "/^$version\$/,\$d" | tail -n 1)
    if [ -n "$previous" ]; then
        printf '\nDifference to %s:\n' "$previous"
        answer datapack --quiet diff "$previous" "$version" || printf '\nIts files are not known here.\n'
    fi
done <"$work/changed"
exit "$failed"
