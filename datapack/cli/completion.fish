# What completes words that only the catalog or the disk knows, and what tells which command is on the line.
function __datapack_words  # the words before the cursor, without the program and without -C DIR
    set -l words (commandline -opc)
    set -l skip yes
    for word in $words
        if test $skip = yes
            set skip no
        else if contains -- $word -C --directory
            set skip yes
        else
            echo $word
        end
    end
end

function __datapack_command  # whether the command on the line is this one, or with no argument, whether there is none
    for word in (__datapack_words)
        if not string match -q -- '-*' $word
            test "$word" = "$argv[1]"
            return
        end
    end
    test (count $argv) -eq 0
end

function __datapack_references
    set -l words (commandline -opc)
    set -l folder .
    for index in (seq 2 (count $words))
        if contains -- $words[$index] -C --directory; and set -q words[(math $index + 1)]
            set folder $words[(math $index + 1)]
        end
    end
    $words[1] -C $folder list --names 2>/dev/null
end

complete -c datapack -f
