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

# Bytes in the units on the packages of sticks: "16.0 GB".
size() {
    awk -v b="$1" 'BEGIN { if (b >= 1e9) printf "%.1f GB", b / 1e9; else printf "%.1f MB", b / 1e6 }'
}

seconds() { cut -d . -f 1 /proc/uptime; }

progress() {
    spent=$(($(seconds) - began))
    rate=$(($2 / (spent > 0 ? spent : 1)))
    left=$((($3 - $2) / (rate > 0 ? rate : 1)))
    line=$(translate '%s %3d %%  %s of %s, %s/s, %d:%02d left' "$1" $(($2 * 100 / $3)) \
        "$(size "$2")" "$(size "$3")" "$(size "$rate")" $((left / 60)) $((left % 60)))
    if [ -n "${gauge:-}" ]; then
        # whiptail's protocol: a percentage and a text.
        printf 'XXX\n%d\n%s\nXXX\n' $(($2 * 100 / $3)) "$line" >&4
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
