#!/bin/sh
# import: copies the dataset that this image carries to a folder outside, and proves there that every byte arrived.
#
# The dataset is a bag (RFC 8493) in /dataset/<name>/<version>. DATAPACK_DIGEST pins its manifest, the manifest pins each
# payload file, the tag manifest each other file. The lines of both go through `lines | xargs | import --batch | tally`.
# Only busybox is used, no temporary file is needed, and nothing is written but below <to>/<name>.
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

BATCH_BYTES=67108864 # about so much is copied, then checked: it is still in memory
BATCH_FILES=1000     # fits a command line
PATIENCE=15          # seconds without a sign of life, after which another import counts as dead
NAMED=10             # so many wrong files are named

usage() {
    cat <<'END'
usage: import [--to DIR] [--jobs N] [--check] [--list] [--help]

Copies the dataset in this image to DIR/<name>/<version> and verifies it there. It has that name only once it is whole.
Run it again after a failure or a kill: what has arrived whole is not copied again.

  --to DIR   the folder to copy to, on a mount (default: /safe_outputs)
  --jobs N   copy and check N batches at once (default: one a core)
  --check    verify what is at the destination against this image, and write nothing
  --list     say what this image carries
  --help     say this

The last line is IMPORT OK <dataset> <digest> or IMPORT FAILED: <why>. DIR/<name>/<version>.import.txt keeps the result.
Exit status: 0 done or already there; 2 wrong usage; 3 no destination (not mounted, not writable); 4 no space;
5 this image is damaged; 6 the copy differs; 7 something else stands at the destination (it is left as it is).
Files in <version>.partial that are not of the dataset are not removed: the import names them and ends with 6.
END
}

# ---- One batch: xargs runs `import --batch copy|check LINE...`; what it prints are events for `tally`

batch() {
    mode=$1 copied=0 complaint=''
    shift
    for attempt in 1 2 3; do
        result=$(check "$place" "$@") && echo "whole $# $copied" && return
        wrong=$(failed "$result")
        if [ "$mode" = check ] || [ "$attempt" = 3 ]; then break; fi
        holds_lock || { echo lost && return 255; } # 255: xargs begins no other batch
        complaint=$(copy "$wrong" 2>&1)
        if no_space "$complaint"; then echo full && return 255; fi
        [ "$attempt" = 2 ] || copied=$(printf '%s\n' "$wrong" | wc -l)
    done
    damaged=$(failed "$(check "$bag" "$@")")
    if [ -n "$damaged" ]; then event=damaged wrong=$damaged; else event=differs; fi
    printf '%s\n' "$wrong" | sed "s/^/$event - /"
    [ -z "$complaint" ] || printf '%s\n' "$complaint" | sed -n '1s/^/note - /p'
}

check() (cd "$1" && shift && printf '%s\n' "$@" | sha256sum -c 2>/dev/null)
failed() { printf '%s\n' "$1" | sed -n 's/: FAILED$//p'; }

# tar removes what has a file's name before it writes the file: it never writes through a link.
copy() { printf '%s\n' "$1" | tr '\n' '\0' | (cd "$bag" && xargs -0 tar cf -) | tar xmof - -C "$place"; }
no_space() { case $1 in *"No space left"* | *"uota exceeded"*) ;; *) return 1 ;; esac }

# ---- All batches

lines() (cd "$bag" && cat manifest-sha256.txt tagmanifest-sha256.txt && sha256sum tagmanifest-sha256.txt)

# Copies or checks ($1) all files in $place; calls it $2. Sets $why, empty if all is well, and the exit status $code for it.
all_batches() {
    why='' code=6 verb=$2 per_batch=$((BATCH_BYTES / (bytes / total + 1) + 1))
    [ "$per_batch" -le "$BATCH_FILES" ] || per_batch=$BATCH_FILES
    sums=$(lines | tr '\n' '\0' | xargs -0 -n "$per_batch" -P "$jobs" "$0" --batch "$1" 2>/dev/null | tally)
    read -r whole copied problem count example <<END
$sums
END
    case $problem in
        lost) code=7 why="another import took over in $place: let it finish" ;;
        full) code=4 why="no space left in $to: make room and run the same command again, it goes on from there" ;;
        damaged) code=5 why="this image is damaged, in $count of its files, such as $example: pull it again" ;;
        differs) why="$place differs from the manifest in $count of $total files, such as $example" ;;
    esac
    if [ -z "$why" ] && [ "$whole" != "$total" ]; then why="only ${whole:-0} of $total files could be checked in $place"; fi
    if [ -z "$why" ] && [ "$(cd "$place" && find . ! -type d | wc -l)" != "$total" ]; then
        extra=$(extras)
        printf '%s\n' "$extra" | sed 's/^/  not of the dataset: /'
        why="$place holds files that are not of the dataset, such as $(printf '%s\n' "$extra" | head -n 1)"
    fi
}

# Adds the events up. Progress and names go to the log (3); the sums and the worst event go to standard output.
tally() {
    whole=0 copied=0 problem=none count=0 example='' named=0 tenth=0
    while read -r event number text; do
        case $event in
            whole) whole=$((whole + number)) copied=$((copied + text)) ;;
            note) echo "  $text" >&3 ;;
            lost | full) problem=$event ;;
            damaged | differs)
                case $problem,$event in none,* | differs,damaged) problem=$event count=0 example=$text ;; esac
                [ "$event" != "$problem" ] || count=$((count + 1))
                named=$((named + 1))
                [ "$named" -gt "$NAMED" ] || echo "  $event: $text" >&3
                ;;
        esac
        if [ $((whole * 10 / total)) -gt "$tenth" ]; then
            tenth=$((whole * 10 / total))
            echo "$verb $whole of $total files (${tenth}0 %)" >&3
        fi
    done
    echo "$whole $copied $problem $count $example"
}

# Names what is in $place and not of the dataset.
extras() {
    { lines | cut -c 67- && echo && (cd "$place" && find . ! -type d) | cut -c 3-; } |
        awk '!listed && $0 == "" { listed = 1; next } !listed { known[$0]; next } !($0 in known)' | head -n "$NAMED"
}

# ---- The destination

# Finds the mount that $to is on: the longest mount point above it (mountinfo writes a space as \040).
on_a_mount() {
    [ "$(folder="$to/" awk '{
        gsub(/\\040/, " ", $5); point = $5 == "/" ? "/" : $5 "/"
        if (index(ENVIRON["folder"], point) == 1 && length(point) > length(nearest)) nearest = point
    } END { print nearest == "" ? "/" : nearest }' /proc/self/mountinfo)" != / ]
}

find_destination() {
    [ -d "$to" ] || fail 3 "there is no folder $to: mount one there"
    on_a_mount || fail 3 "$to is not mounted, what is written there would vanish with this container: mount a folder there"
    for path in "$to/$name" "$final" "$partial"; do
        if [ -L "$path" ] || { [ -e "$path" ] && [ ! -d "$path" ]; }; then fail 7 "$path is not a folder: move it away"; fi
    done
    strange=$(find "$partial" ! -type f ! -type d 2>/dev/null | head -n 1)
    [ -z "$strange" ] || fail 7 "$strange is neither a file nor a folder: move it away"
    try_to_write mkdir -p "$to/$name"
    receipt=$to/$name/$version.import.txt
}

try_to_write() {
    complaint=$("$@" 2>&1) && return
    if no_space "$complaint"; then fail 4 "no space left in $to"; fi
    fail 3 "$to cannot be written to as user $(id -u): $complaint"
}

# Says what is short, if anything is: bytes, or inodes where the file system counts them.
shortage() {
    { find "$partial" -type f -exec stat -c %s {} + 2>/dev/null && stat -f -c 'free %a %S %c %d' "$to"; } |
        awk -v bytes="$bytes" -v files="$total" '
            $1 != "free" { bytes -= $1; files--; next }
            $2 * $3 < bytes { printf "%.1f MB are needed, %.1f MB are free", bytes / 1e6, $2 * $3 / 1e6; exit }
            $4 > 0 && $5 < files { printf "%d more files are to come, there is room for %d", files, $5 }'
}

# ---- The lock: a file that its holder makes a byte longer each second, since no process can be seen from another container

create_lock() (set -C && echo "$token" >"$lock")
holds_lock() { { read -r holder <"$lock" && [ "$holder" = "$token" ]; } 2>/dev/null; }
lock_size() { stat -c %s "$lock" 2>/dev/null; }

take_lock() {
    busy="another import is writing to $partial: let it finish"
    if [ -e "$lock" ]; then
        echo "another import has left its lock here, $lock: waiting $PATIENCE s for a sign of life"
        size=$(lock_size)
        for _ in $(seq "$PATIENCE"); do
            sleep 1
            [ "$(lock_size)" = "$size" ] || fail 7 "$busy"
        done
        rm -f "$lock"
    fi
    read -r token </proc/sys/kernel/random/uuid
    if ! create_lock 2>/dev/null; then
        [ ! -e "$lock" ] || fail 7 "$busy"
        try_to_write create_lock
    fi
    while kill -0 $$ && holds_lock; do echo >>"$lock" && sleep 1; done >/dev/null 2>&1 3>&- &
    heart=$!
}

# ---- The end: the receipt and the last line

facts() {
    echo "dataset   $dataset"
    echo "digest    $digest"
    echo "files     $files"
    echo "bytes     $bytes"
    echo "licence   $licence"
}

report() {
    [ -z "${licence+known}" ] || { facts && echo "seconds   $(($(date +%s) - start))"; }
    echo "$1"
}

# Leaves a receipt with what the log says, where one may be left, and lets go of the lock.
close() {
    if [ -n "$receipt" ]; then
        rm -f "$receipt.new" && echo "$1" >"$receipt.new" && mv -fT "$receipt.new" "$receipt"
    fi 2>/dev/null
    [ -z "$heart" ] || kill "$heart" 2>/dev/null
    [ -z "$token" ] || ! holds_lock || rm -f "$lock"
}

end() {
    said=$(report "$2")
    close "$said"
    echo "$said"
    exit "$1"
}

fail() {
    [ "$1" -ne 7 ] || receipt='' # what stands there keeps its own
    end "$1" "IMPORT FAILED: $2"
}

succeed() { end 0 "IMPORT OK $dataset $digest"; }

# ---- What can be asked for

find_image() {
    dataset=${DATAPACK_DATASET-} digest=${DATAPACK_DIGEST-}
    name=${dataset%@*} version=${dataset#*@}
    bag=/dataset/$name/$version final=$to/$name/$version
    partial=$final.partial lock=$to/$name/.$version.lock
    case $dataset in
        */* | .* | *@.*) ;;
        ?*@?*) return ;;
    esac
    fail 5 "this image is damaged: DATAPACK_DATASET does not name a dataset"
}

check_image() {
    sum=$(cd "$bag" 2>/dev/null && sha256sum manifest-sha256.txt 2>/dev/null)
    [ "sha256:${sum%% *}" = "$digest" ] || fail 5 "this image is damaged: its manifest is not $digest; pull it again"
    (cd "$bag" && sha256sum -c -s tagmanifest-sha256.txt 2>/dev/null) ||
        fail 5 "this image is damaged: a file beside its manifest is not what it was; pull it again"
    oxum=$(sed -n 's/^Payload-Oxum: //p' "$bag/bag-info.txt")
    bytes=${oxum%.*} files=${oxum#*.} total=$(lines | wc -l)
    case $bytes$files in '' | *[!0-9]*) fail 5 "this image is damaged: bag-info.txt does not give its size" ;; esac
    licence=$(sed -n 's/^Licence: //p' "$bag/bag-info.txt")
}

# Verifies what has the final name already, if anything does.
greet() {
    [ -d "$final" ] || return 0
    echo "$final is there already: verifying it"
    place=$final
    all_batches check verified
    [ "$code" = 5 ] || code=7
    [ -z "$why" ] || fail "$code" "$why"
    echo "$final was already there and whole"
    succeed
}

copy_dataset() {
    find_image
    find_destination
    check_image
    greet
    take_lock
    greet # again: another import may have ended just now
    short=$(shortage)
    [ -z "$short" ] || fail 4 "not enough space in $to: $short"
    try_to_write mkdir -p "$partial"
    [ -w "$partial" ] || fail 3 "$partial belongs to another user: run as that user, or remove it"
    echo "copying $dataset to $final, $jobs batches at once"
    place=$partial
    all_batches copy "copied"
    [ -z "$why" ] || fail "$code" "$why"
    [ "$copied" = "$total" ] || echo "$((total - copied)) of $total files were there already, $copied were copied"
    try_to_write sync -f "$partial"
    holds_lock || fail 7 "$busy"
    complaint=$(mv -T "$partial" "$final" 2>&1) || fail 7 "$final cannot be made: $complaint"
    sync -f "$to/$name"
    succeed
}

check_dataset() {
    find_image
    check_image
    [ -d "$to" ] || fail 3 "there is no folder $to"
    [ -d "$final" ] || fail 6 "there is no $final"
    place=$final
    all_batches check verified
    [ -z "$why" ] || fail "$code" "$why"
    succeed
}

list_dataset() {
    find_image
    check_image
    facts
}

main() {
    start=$(date +%s) action=copy to=/safe_outputs jobs=$(nproc) receipt='' heart='' token=''
    exec 3>&1
    while [ $# -gt 0 ]; do
        case $1 in
            --to | --jobs) [ $# -ge 2 ] || fail 2 "$1 needs a value; import --help says which" ;;
        esac
        case $1 in
            --to) to=$2 && shift ;;
            --jobs) jobs=$2 && shift ;;
            --check) action=check ;;
            --list) action=list ;;
            --help) usage && exit ;;
            *) fail 2 "unknown argument $1; import --help says which there are" ;;
        esac
        shift
    done
    case $jobs in '' | 0* | *[!0-9]*) fail 2 "--jobs needs a whole number from 1, not '$jobs'" ;; esac
    to=$(readlink -f "$to" || echo "$to")
    export bag place='' lock='' token
    trap 'close "$(report "IMPORT FAILED: stopped")"; exit 143' TERM
    case $action in
        copy) copy_dataset ;;
        check) check_dataset ;;
        list) list_dataset ;;
    esac
}

case ${1-} in
    --batch) shift; batch "$@"; exit ;;
    --session) shift; main "$@"; exit ;;
esac

# All work is done in a session of its own: stopping the session stops every process of it, in any engine.
setsid "$0" --session "$@" &
session=$!
trap 'kill -TERM -- "-$session"' TERM INT HUP
while wait "$session"; code=$?; kill -0 "$session" 2>/dev/null; do :; done
case $code in [02-7]) ;; *) echo "IMPORT FAILED: stopped (status $code); run it again, it goes on from what has arrived" ;; esac
exit "$code"
