#!/bin/sh
# import-batch: copies some files of the dataset and checks them, or only checks them. `import` runs it through xargs, in
# the folder at the destination, with lines of the manifest:
#
#   import-batch copy|check LINE...
#
# It prints events:
#
#   whole FILES COPIED   all files of the batch are there and verified; this many were copied
#   differs - NAME       this file is missing or wrong, and could not be copied
#   damaged - NAME       this file is wrong in the image itself
#   note - TEXT          what the system said
#   full                 there is no space left: no other batch starts
#   lost                 the lock or the folder is no longer ours: no other batch starts
# shellcheck disable=SC3013 # -ef is not POSIX, but busybox has it
set -u
# From import: the dataset in this image, the folder at the destination, the lock, and what is in it if it is ours.
: "${bag:?}" "${place:?}" "${lock:?}" "${token?}"

STOP=255 # with this status xargs starts no other batch

main() {
    action=$1 copied=0 complaint=''
    shift
    if [ "$action" = copy ] && none_there "$@"; then
        wrong=$(names "$@") copied=$#
        copy || exit "$STOP"
    fi
    for attempt in 1 2 3; do
        result=$(check . "$@") && wait && echo "whole $# $copied" && exit
        wrong=$(failed "$result")
        if [ "$action" = check ] || [ "$attempt" = 3 ]; then break; fi
        [ "$copied" -gt 0 ] || copied=$(printf '%s\n' "$wrong" | wc -l)
        copy || exit "$STOP"
    done
    event=differs damaged=$(failed "$(check "$bag" "$@")")
    [ -z "$damaged" ] || { event=damaged && wrong=$damaged; }
    printf '%s\n' "$wrong" | sed "s/^/$event - /"
    [ -z "$complaint" ] || printf '%s\n' "$complaint" | sed -n '1s/^/note - /p'
}

names() { for line; do echo "${line#*  }"; done; }
none_there() { for line; do [ ! -e "./${line#*  }" ] || return; done; }
check() (cd "$1" && shift && printf '%s\n' "$@" | sha256sum -c 2>/dev/null)
failed() { printf '%s\n' "$1" | sed -n 's/: FAILED$//p'; }

# Copies $wrong, one name per line. The disk starts writing while the batch is checked: less is left for the end.
copy() {
    if ! holds_lock || [ ! . -ef "$place" ]; then echo lost && return 1; fi
    complaint=$(copy_names 2>&1)
    case $complaint in *"No space left"* | *"uota exceeded"*) echo full && return 1 ;; esac
    sync -f . &
}

holds_lock() { { read -r holder <"$lock" && [ "$holder" = "$token" ]; } 2>/dev/null; }

# /proc/$$/cwd is the folder itself, whatever its name leads to by now. -f --remove-destination: what has a file's name
# is removed before the file is written, so nothing is written through a link.
copy_names() (
    IFS='
'
    set -f
    # shellcheck disable=SC2086 # split at line ends, and nowhere else
    cd "$bag" && cp -f --remove-destination --parents -t "/proc/$$/cwd" -- $wrong
)

main "$@"
