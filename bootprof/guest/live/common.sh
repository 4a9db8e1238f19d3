# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Messages, sizes, numbers and progress of bootprof-live.

mib=1048576

# translate TEXT [ARGUMENT...]: TEXT in the user's language, its %s filled in. English is built in.
translate() {
    translated=$1
    shift
    if [ -n "$language" ] && command -v gettext >/dev/null; then
        translated=$(LC_ALL=$language gettext -d bootprof-live -- "$translated" 2>/dev/null)
    fi
    # shellcheck disable=SC2059 # the text is a format
    printf "$translated" "$@"
}

fail() {
    printf 'bootprof-live: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '  %s\n' "$2" >&2
    exit "${3:-1}"
}
refuse() { fail "$1" "${2:-}" 2; }

# Text of a device is foreign: keep what a terminal shows.
printable() { tr -cd '[:print:]' | cut -c 1-"$1"; }

# Bytes in the units on the packages of sticks: "16.0 GB", as the user's language writes it.
size() {
    [ -n "${decimal:-}" ] || decimal=$(translate '.') megabyte=$(translate MB) gigabyte=$(translate GB)
    awk -v b="$1" -v sign="$decimal" -v mb="$megabyte" -v gb="$gigabyte" 'BEGIN {
        text = b >= 1e9 ? sprintf("%.1f %s", b / 1e9, gb) : sprintf("%.1f %s", b / 1e6, mb)
        sub(/[.]/, sign, text)
        print text }'
}

# column WIDTH TEXT: filled up to a number of letters; in front if the number is negative. (printf
# counts bytes, and letters of UTF-8 have several.)
column() {
    width=$(($1 < 0 ? -$1 : $1))
    letters=$(printf %s "$2" | tr -d '\200-\277' | wc -c)
    blanks=$((width > letters ? width - letters : 0))
    if [ "$1" -lt 0 ]; then printf "%${blanks}s%s" '' "$2"; else printf "%s%${blanks}s" "$2" ''; fi
}

seconds() { cut -d . -f 1 /proc/uptime; }

# whiptail switches Ctrl-C off.
interruptible() { stty isig intr '^C' </dev/tty 2>/dev/null || :; }

# progress WHAT DONE ALL: bytes since $began. In a window, a part of the whole gauge may be meant.
progress() {
    spent=$(($(seconds) - began))
    rate=$(($2 / (spent > 0 ? spent : 1)))
    left=$((($3 - $2) / (rate > 0 ? rate : 1)))
    line=$(translate '%s %3d %%  %s of %s, %s/s, %d:%02d left' "$1" $(($2 * 100 / $3)) \
        "$(size "$2")" "$(size "$3")" "$(size "$rate")" $((left / 60)) $((left % 60)))
    if [ -n "${gauge:-}" ]; then
        # whiptail's protocol: a percentage and a text.
        interruptible
        gauge_now=$((${gauge_from:-0} + $2 * (${gauge_to:-100} - ${gauge_from:-0}) / $3))
        printf 'XXX\n%d\n%s\nXXX\n' "$gauge_now" "$line" >&4
    else
        printf '\r%s   ' "$line" >&2
    fi
}

# little_endian NUMBER BYTES
little_endian() {
    number_left=$1
    count_left=$2
    while [ "$count_left" -gt 0 ]; do
        # shellcheck disable=SC2059 # the format is an octal escape
        printf "\\$(printf %03o $((number_left % 256)))"
        number_left=$((number_left / 256))
        count_left=$((count_left - 1))
    done
}

# patch FILE OFFSET: writes standard input there.
patch() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# number_at FILE OFFSET BYTES: the number there, in little endian.
number_at() { dd if="$1" bs=1 skip="$2" count="$3" status=none | od -An -tu"$3" | tr -d ' '; }
