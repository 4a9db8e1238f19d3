# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Messages, sizes and progress of bootprof-live.

mib=1048576

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
    printf '\r%s %3d %%  %s of %s, %s/s, %d:%02d left   ' "$1" $(($2 * 100 / $3)) "$(size "$2")" \
        "$(size "$3")" "$(size "$rate")" $((left / 60)) $((left % 60)) >&2
}
