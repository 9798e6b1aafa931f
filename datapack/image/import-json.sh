#!/bin/sh
# import-json: prints names and values as one JSON object. `import` writes its receipt for programs with it:
#
#   import-json NAME VALUE [NAME VALUE]...
#
# A value is a string; if its name ends with #, a number. An empty one is null. Any bytes may be in a string: the output
# is ASCII, and what is not UTF-8 becomes U+FFFD. Nothing is printed unless all of it can be.
set -u
export LC_ALL=C

printf '%s\0' "$@" | od -An -v -tu1 | awk -v expected="$#" '
    { for (i = 1; i <= NF; i++) read_byte($i + 0) }
    END {
        if (expected == 0 || count != expected) exit 1
        print "{" object "\n}"
    }

    # A zero ends a name or a value. Other bytes are those of characters in UTF-8, `point` is the code of one.
    function read_byte(byte) {
        if (left && byte >= 128 && byte < 192) {
            point = point * 64 + byte - 128
            if (--left == 0) add(point < least || point > 1114111 || is_half(point) ? 65533 : point)
            return
        }
        if (left) add(65533) # the character before was cut short
        left = 0
        if (byte == 0) end_text()
        else if (byte < 128) add(byte)
        else if (byte >= 194 && byte < 224) { left = 1; point = byte - 192; least = 128 }
        else if (byte >= 224 && byte < 240) { left = 2; point = byte - 224; least = 2048 }
        else if (byte >= 240 && byte < 245) { left = 3; point = byte - 240; least = 65536 }
        else add(65533)
    }

    function is_half(point) { return point >= 55296 && point < 57344 } # of a surrogate pair

    function add(point) {
        if (point > 65535) {
            add(55296 + int((point - 65536) / 1024))
            add(56320 + (point - 65536) % 1024)
        } else if (point == 34 || point == 92) text = text "\\" sprintf("%c", point)
        else if (point < 32 || point > 126) text = text sprintf("\\u%04x", point)
        else text = text sprintf("%c", point)
    }

    function end_text() {
        if (count++ % 2 == 0) name = text
        else {
            number = sub(/#$/, "", name)
            if (text == "" || (number && text !~ /^[0-9]+$/)) text = "null"
            else if (!number) text = "\"" text "\""
            object = object (count > 2 ? "," : "") "\n  \"" name "\": " text
        }
        text = ""
    }'
