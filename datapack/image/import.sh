#!/bin/sh
# import: copies the dataset in this image to a folder outside, and proves there that every byte arrived.
#
# The dataset is a bag (RFC 8493) in /dataset/<name>. DATAPACK_DIGEST pins its manifest, the manifest pins each
# payload file, the tag manifest each other file. The lines of both go through `lines | xargs | import-batch | tally`.
# It needs only busybox, makes no temporary files, and writes only below <to>/<name>. Start reading at copy_dataset.
# shellcheck disable=SC3013 # -ef is not POSIX, but busybox has it
set -u
unset IFS CDPATH ENV OPTIND # some engines pass the user's environment on
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec 2>&1 # one stream: of two, an engine's log may show a complaint of the shell after the last line

VERSION=0.2.0        # the release of datapack that brought this program: raise it whenever one of its files changes
BATCH_BYTES=33554432 # about this much is copied and then checked while it is still in memory
BATCH_FILES=1000     # this many names fit on a command line
PATIENCE=15          # seconds without a sign of life after which another import counts as dead
NAMED=10             # how many wrong files the log names

usage() {
    cat <<'END'
usage: import [--to DIR] [--jobs N] [--check] [--list] [--version] [--help]

Copies the dataset in this image to DIR/<name>/<version>, a name that it gets once every byte is verified there.
After a failure or a kill, run it again: it copies only what is missing.

  --to DIR   the folder to copy to, on a mount (default: /safe_outputs)
  --jobs N   copy and check N batches at once (default: one per core)
  --check    verify what is at the destination against this image; write nothing
  --list     show what this image contains
  --version  show the version of this program, and the SHA-256 of its files

The last line is IMPORT OK <dataset> <digest> or IMPORT FAILED: <why>. DIR/<name>/<version>.import.txt keeps the result,
and <version>.import.json keeps it for programs. The lines above IMPORT OK are there to be copied into a record.
Exit status: 0 done or already there; 2 wrong usage; 3 no destination (not mounted, not writable); 4 no space;
5 this image is damaged; 6 the copy differs; 7 something else is at the destination (it is left unchanged).
Extra files in <version>.partial are not removed: the import names them and ends with 6.
END
}

copy_dataset() {
    find_image
    find_destination
    check_image
    verify_existing
    take_lock
    verify_existing # again: another import may have finished while we waited
    shortage=$(find_shortage)
    [ -z "$shortage" ] || fail 4 "not enough space in $to: $shortage"
    enter_partial
    echo "copying $dataset to $final, $jobs batches at once"
    all_batches copy "$partial"
    [ -z "$why" ] || fail "$code" "$why"
    [ "$copied" = "$total" ] || echo "$((total - copied)) of $total files were there already, $copied were copied"
    try_to_write sync -f .
    holds_lock || fail 7 "$busy"
    chmod "$(printf %o $((0777 & ~$(umask))))" . # as mkdir makes it
    complaint=$(mv -T "$partial" "$final" 2>&1) || fail 7 "cannot make $final: $complaint"
    [ . -ef "$final" ] || fail 7 "$final is not the folder that was verified: somebody replaced it"
    try_to_write sync -f ..
    succeed
}

check_dataset() {
    find_image
    check_image
    [ -d "$to" ] || fail 3 "there is no folder $to"
    [ -d "$final" ] || fail 6 "there is no $final"
    verify_final 6
    succeed
}

list_dataset() {
    find_image
    check_image
    facts
}

show_version() {
    echo "import $VERSION"
    cd /usr/local/bin && sha256sum import import-batch import-json
}

# ---- The image

find_image() {
    dataset=${DATAPACK_DATASET-} digest=${DATAPACK_DIGEST-}
    name=${dataset%@*} version=${dataset#*@}
    bag=/dataset/$name final=$to/$name/$version
    partial=$final.partial lock=$to/$name/.$version.lock
    base=${DATAPACK_BASE-}
    case $base in
        *[![:graph:]]*) base='' base_name='' base_digest='' ;;
        *@*) base_name=${base%@*} base_digest=${base##*@} ;;
        sha256:*) base_name='' base_digest=$base ;; # of a base that was a folder
        *) base_name=$base base_digest='' ;;
    esac
    case $dataset in
        *[[:cntrl:]]* | */* | *@*@* | .* | *@.*) ;;
        ?*@?*) return ;;
    esac
    fail 5 "this image is damaged: DATAPACK_DATASET does not name a dataset"
}

check_image() {
    sum=$(cd "$bag" 2>/dev/null && sha256sum manifest-sha256.txt 2>/dev/null)
    [ "sha256:${sum%% *}" = "$digest" ] || fail 5 "this image is damaged: its manifest is not $digest; pull it again"
    (cd "$bag" && sha256sum -c -s tagmanifest-sha256.txt 2>/dev/null) ||
        fail 5 "this image is damaged: a file beside its manifest is not what it was; pull it again"
    size=$(sed -n 's/^Payload-Oxum: //p' "$bag/bag-info.txt")
    bytes=${size%.*} files=${size#*.}
    case $bytes$files in '' | *[!0-9]*) fail 5 "this image is damaged: bag-info.txt does not give its size" ;; esac
    licence=$(sed -n '/^Licence: /{s///p;q;}' "$bag/bag-info.txt")
    lines=$(lines | wc -l)
    [ "${lines:-0}" -gt 0 ] || fail 5 "this image is damaged: the files of its dataset cannot be listed"
    total=$lines # set last: a receipt has the facts once there is a total
}

# Prints everything to copy and check, as `<sha256>  <path>`: the payload, the tag files, the tag manifest itself.
lines() (cd "$bag" && cat manifest-sha256.txt tagmanifest-sha256.txt && sha256sum tagmanifest-sha256.txt)

# ---- The destination

find_destination() {
    [ -d "$to" ] || fail 3 "there is no folder $to: mount one there"
    on_a_mount || fail 3 "$to is not mounted, what is written there would vanish with this container: mount a folder there"
    for path in "$to/$name" "$final" "$partial"; do
        if [ -L "$path" ] || { [ -e "$path" ] && [ ! -d "$path" ]; }; then fail 7 "$path is not a folder: move it away"; fi
    done
    try_to_write mkdir -p "$to/$name"
    receipt=$to/$name/$version.import
}

# Whether $to is on a mount: the longest mount point above it is not / itself. mountinfo escapes spaces and backslashes.
on_a_mount() {
    folder=$to/ awk '
        { gsub(/\\040/, " ", $5); gsub(/\\134/, "\\", $5); point = $5 == "/" ? "/" : $5 "/" }
        index(ENVIRON["folder"], point) == 1 && length(point) > length(nearest) { nearest = point }
        END { exit length(nearest) <= 1 }' /proc/self/mountinfo
}

try_to_write() {
    complaint=$("$@" 2>&1) && return
    case $complaint in *"No space left"* | *"uota exceeded"*) fail 4 "no space left in $to" ;; esac
    fail 3 "$to cannot be written to by user $(id -u): $complaint"
}

# Prints what is short, if anything is: bytes, or inodes where the file system counts them.
find_shortage() {
    { find "$partial" -type f -exec stat -c %s {} + 2>/dev/null; stat -f -c 'free %a %S %c %d' "$to"; } |
        awk -v bytes="$bytes" -v files="$total" '
            $1 != "free" { bytes -= $1; files--; next }
            $2 * $3 < bytes { printf "%.1f MB are needed, %.1f MB are free", bytes / 1e6, $2 * $3 / 1e6; exit }
            $4 > 0 && $5 < files { printf "%d more files are to come, there is room for %d", files, $5 }'
}

verify_existing() {
    [ -d "$final" ] || return 0
    echo "$final is already there: verifying it"
    verify_final 7
    echo "$final was already there and is complete"
    succeed
}

verify_final() { # the exit status if it differs
    all_batches check "$final"
    [ "$code" = 5 ] || code=$1
    [ -z "$why" ] || fail "$code" "$why"
}

# Makes $partial and goes there. Only this user may write in it: a link that somebody puts in place of a folder would make
# root write elsewhere. Everything after this uses the current folder, which no rename can replace.
enter_partial() {
    try_to_write mkdir -p "$partial"
    if ! cd -P "$partial" || [ -L "$partial" ]; then fail 7 "$partial is not a folder: move it away"; fi
    if [ -O "$lock" ]; then
        [ -O . ] || fail 3 "$partial belongs to another user: run as that user, or remove it"
        try_to_write chmod 700 .
        try_to_write find . -type d -exec chmod go-w {} +
        strange=$(find . ! -user "$(id -u)" | head -n 1)
        [ -z "$strange" ] || fail 3 "$partial/${strange#./} belongs to another user: remove it"
    else
        [ -w . ] || fail 3 "$partial belongs to another user: run as that user, or remove it"
        echo "the file system of $to does not keep owners: make sure that nobody else writes there"
    fi
}

# ---- The lock: a file that its holder makes a byte longer each second; containers cannot see each other's processes

take_lock() {
    busy="another import is writing to $partial: let it finish"
    if [ -L "$lock" ] || { [ -e "$lock" ] && [ ! -f "$lock" ]; }; then fail 7 "$lock is not a file: move it away"; fi
    if [ -e "$lock" ]; then
        echo "another import left its lock here, $lock: waiting $PATIENCE s for a sign of life"
        length=$(lock_length)
        for _ in $(seq "$PATIENCE"); do
            sleep 1
            [ "$(lock_length)" = "$length" ] || fail 7 "$busy"
        done
        rm -f "$lock"
    fi
    read -r token </proc/sys/kernel/random/uuid
    set -C # a redirection to what exists fails
    if ! command exec 4>"$lock"; then
        [ ! -e "$lock" ] || fail 7 "$busy"
        # shellcheck disable=SC2016 # the other shell expands it
        try_to_write sh -c 'set -C; : >"$0"' "$lock" # says why it fails
        fail 7 "$busy"
    fi 2>/dev/null
    set +C
    echo "$token" >&4
    while kill -0 $$ && holds_lock; do echo >&4; sleep 1; done >/dev/null 2>&1 3>&- &
    heart=$!
}

holds_lock() { { read -r holder <"$lock" && [ "$holder" = "$token" ]; } 2>/dev/null; }
lock_length() { stat -c %s "$lock" 2>/dev/null; }

# ---- All batches

# Copies to a folder or checks it: `all_batches copy|check FOLDER`. Sets $why, empty if all is well, and the exit $code.
all_batches() {
    action=$1 place=$2 why='' code=7
    cd "$place" || { why="cannot enter $place" && return; }
    strange=$(find . ! -type f ! -type d | head -n 1)
    if [ -n "$strange" ]; then why="$place/${strange#./} is neither a file nor a folder: move it away" && return; fi
    code=6 batch=$((BATCH_BYTES / (bytes / total + 1) + 1))
    [ "$batch" -le "$BATCH_FILES" ] || batch=$BATCH_FILES
    sums=$(lines | tr '\n' '\0' | xargs -0 -n "$batch" -P "$jobs" /usr/local/bin/import-batch "$action" 2>/dev/null | tally)
    read -r whole copied problem count example <<END
$sums
END
    case $problem in
        lost) code=7 why="another import took over in $place: let it finish" ;;
        full) code=4 why="no space left in $to: make room and run the same command again, it continues from there" ;;
        damaged) code=5 why="this image is damaged, in $count of its files, such as $example: pull it again" ;;
        differs) why="$place differs from the manifest in $count of $total files, such as $example" ;;
        *)
            [ "$whole" = "$total" ] || why="only ${whole:-0} of $total files could be checked in $place"
            [ -n "$why" ] || find_extras
            ;;
    esac
}

# Looks for files that are not in the dataset. Counting is enough: every file of the dataset is known to be there.
find_extras() {
    present=$(find . ! -type d | wc -l)
    [ "$present" != "$total" ] || return
    extras=$({ lines | cut -c 67- && echo && find . ! -type d | cut -c 3-; } |
        awk '!listed && $0 == "" { listed = 1; next } !listed { known[$0]; next } !($0 in known)' | head -n "$NAMED")
    why="$place holds $present files, not $total: its file system treats some names as equal, or somebody removes files"
    [ -n "$extras" ] || return
    printf '%s\n' "$extras" | shown | sed 's/^/  not in the dataset: /'
    why="$place holds files that are not in the dataset, such as $(printf '%s\n' "$extras" | head -n 1): move them away"
}

# Adds up the events of the batches. Progress and names go to the log (3), sums and the worst event to standard output.
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
        [ $((whole * 10 / total)) -gt "$tenth" ] || continue
        tenth=$((whole * 10 / total))
        echo "$whole of $total files are there and verified (${tenth}0 %)" >&3
    done
    echo "$whole $copied $problem $count $example"
}

# ---- The end: the receipt and the last line

shown() { tr '\001-\011\013-\037\177' '?'; } # a name or an argument can neither add a line to the log nor overwrite one

facts() {
    echo "dataset   $dataset"
    echo "digest    $digest"
    echo "files     $files"
    echo "bytes     $bytes"
    printf 'licence   %s\n' "$licence" | shown
    echo "base      ${base:-unknown}"
    echo "program   import $VERSION"
}

clock() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# Sets what a receipt says besides its last line: $text for people, $json for programs. `describe STATUS LAST_LINE`
describe() {
    read -r now _ </proc/uptime # since this machine started: it does not change when the clock is set
    seconds=$((${now%.*} - ${start%.*})) ended=$(clock) user=$(id -u)
    [ -z "$copied" ] || already=$((whole - copied))
    [ -z "$total" ] || text=$(
        facts
        echo "started   $started"
        echo "ended     $ended"
        echo "seconds   $seconds"
        echo "user      $user"
        [ -z "$copied" ] || echo "copied    $copied of $total files, $already were there already"
    )
    [ -z "$receipt" ] || json=$(
        /usr/local/bin/import-json format# 1 dataset "$dataset" digest "${total:+$digest}" files# "${total:+$files}" \
            bytes# "${total:+$bytes}" licence "${total:+$licence}" base_name "$base_name" base_digest "$base_digest" \
            program_version "$VERSION" started "$started" ended "$ended" seconds# "$seconds" user# "$user" \
            copied# "$copied" already_there# "$already" status# "$1" result "$2"
    ) || json=''
}

# Writes the receipts, if there is a place for them, and releases the lock. The two never disagree: the one for programs
# is removed first and written last.
close() {
    if [ -n "$receipt" ]; then
        rm -f "$receipt.json" && put "$receipt.txt" "${text:+$text
}$1" && [ -n "$json" ] && put "$receipt.json" "$json"
    fi 2>/dev/null
    [ -z "$heart" ] || kill "$heart" 2>/dev/null
    [ -z "$token" ] || ! holds_lock || rm -f "$lock"
}

# Replaces a file by a text, in one step. Nobody can guess the temporary name, so nobody has put anything there.
put() {
    read -r unique </proc/sys/kernel/random/uuid
    (set -C && echo "$2" >"$1.$unique") && mv -fT "$1.$unique" "$1" && return
    rm -f "$1.$unique"
    return 1
}

end() {
    describe "$1" "$2"
    close "$2"
    [ "$1" != 0 ] || text="---- for the record: begin ----
$text
result    complete: every byte of it was verified in $final
---- for the record: end ----"
    [ -z "$text" ] || echo "$text"
    echo "$2"
    exit "$1"
}

fail() {
    [ "$1" -ne 7 ] || receipt='' # what is there keeps its own
    end "$1" "IMPORT FAILED: $(printf %s "$2" | tr '\n' '?' | shown)"
}

succeed() { end 0 "IMPORT OK $dataset $digest"; }

main() {
    read -r start _ </proc/uptime
    command=copy to=/safe_outputs jobs=$(nproc) started=$(clock) total='' receipt='' heart='' token=''
    dataset='' base_name='' base_digest='' whole='' copied='' already='' text='' json=''
    exec 3>&1
    stopped="IMPORT FAILED: stopped by a signal"
    trap 'describe 143 "$stopped"; close "$stopped"; exit 143' TERM
    while [ $# -gt 0 ]; do
        case $1 in --to | --jobs) [ $# -ge 2 ] || fail 82 "$1 needs a value; see import --help" ;; esac
        case $1 in
            --to) to=$2 && shift ;;
            --jobs) jobs=$2 && shift ;;
            --check) command=check ;;
            --list) command=list ;;
            --version) show_version && exit ;;
            --help) usage && exit ;;
            *) fail 82 "unknown argument $1; import --help lists them" ;;
        esac
        shift
    done
    case $jobs in '' | 0* | *[!0-9]* | ?????*) fail 82 "--jobs needs a whole number from 1 to 9999, not '$jobs'" ;; esac
    to=$(readlink -f "$to" || echo "$to")
    case $to in *[[:cntrl:]]*) fail 82 "--to needs a path without control characters, not '$to'" ;; esac
    export bag='' lock='' place='' token # for the batches
    case $command in
        copy) copy_dataset ;;
        check) check_dataset ;;
        list) list_dataset ;;
    esac
}

if [ "${1-}" = --session ]; then
    shift
    main "$@"
    exit
fi

# The work runs in its own session, so that stopping the session stops every process in it. However it ends, even by a
# signal that no program can catch, the last line says so. Nothing of the user's environment reaches it.
trap 'echo "IMPORT FAILED: stopped (status $?): run it again, it continues from what has arrived"' EXIT
setsid env -i PATH="$PATH" LC_ALL=C DATAPACK_DATASET="${DATAPACK_DATASET-}" DATAPACK_DIGEST="${DATAPACK_DIGEST-}" \
    DATAPACK_BASE="${DATAPACK_BASE-}" "$0" --session "$@" &
session=$!
trap 'kill -TERM -- "-$session"' TERM INT HUP
while wait "$session"; code=$?; kill -0 "$session" 2>/dev/null; do :; done
case $code in
    [03-7]) trap - EXIT ;; # it has said how it ended
    82) trap - EXIT && code=2 ;; # wrong usage; a shell that fails by itself ends with 2
    *) kill -KILL -- "-$session" 2>/dev/null ;; # its last processes
esac
exit "$code"
