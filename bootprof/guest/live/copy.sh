# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Copies a live medium to a disk, reads it back and compares it.

# A medium boots by what is in its first MiB (boot code, partition table, start of the ISO file
# system), which is therefore written last.
head_bytes=$mib
chunk_mib=16

is_iso() { [ "$(dd if="$1" bs=1 skip=32769 count=5 2>/dev/null)" = CD001 ]; }
is_gpt() { [ "$(dd if="$1" bs=1 skip=512 count=8 2>/dev/null)" = "EFI PART" ]; }

# Bytes of a source that belong to the live medium.
source_bytes() {
    if [ -f "$1" ]; then
        wc -c <"$1"
        return
    fi
    name=$(basename "$(readlink -f "$1")")
    case $name in sr*) disk_bytes "$name"; return ;; esac
    end=0
    if is_iso "$1"; then
        end=$(($(dd if="$1" bs=1 skip=32848 count=4 2>/dev/null | od -An -tu4) * 2048))
    fi
    for part in "$root/sys/block/$name/$name"*; do
        [ -e "$part/start" ] || continue
        last=$((($(cat "$part/start") + $(cat "$part/size")) * 512))
        [ "$last" -le "$end" ] || end=$last
    done
    echo "$end"
}

# copy_range FROM LENGTH: source to target, both in bytes.
copy_range() {
    dd if="$source" of="$target" bs="$mib" iflag=skip_bytes,count_bytes,fullblock oflag=seek_bytes \
        skip="$1" seek="$1" count="$2" conv=notrunc 2>"$scratch/dd" && return
    printf '\n' >&2
    fail "copying to $target failed near byte $1: $(grep -v records "$scratch/dd" | head -n 1 | printable 120)" \
        "the copy is incomplete and does not boot; use another stick, or check the source"
}

# compare_range FROM LENGTH: the target as the device has it, not as the page cache does.
compare_range() {
    dd if="$target" bs="$mib" iflag="$past_cache,skip_bytes,count_bytes,fullblock" skip="$1" \
        count="$2" 2>"$scratch/dd" | cmp -i "$1:0" -n "$2" "$source" - >"$scratch/cmp" 2>&1 && return
    printf '\n' >&2
    at=$(sed -n 's/.*differ: byte \([0-9]*\),.*/\1/p' "$scratch/cmp")
    fail "$target: what was written is not what is read, at byte $(($1 + ${at:-1} - 1))" \
        "the copy does not boot; the stick is faulty or smaller than it says"
}

flush() {
    sync "$target" || fail "$target: cannot flush it" "the copy is incomplete; use another stick"
    [ ! -b "$target" ] || blockdev --flushbufs "$target"
}

each_chunk() {
    began=$(seconds)
    at=$head_bytes
    while [ "$at" -lt "$total" ]; do
        length=$((chunk_mib * mib))
        [ $((total - at)) -ge "$length" ] || length=$((total - at))
        "$1" "$at" "$length"
        at=$((at + length))
        progress "$2" "$at" "$total"
    done
    printf '\n' >&2
}

blank() {
    dd if=/dev/zero of="$target" bs="$mib" count=1 seek="$1" oflag=seek_bytes conv=notrunc \
        2>"$scratch/dd" ||
        fail "$target: cannot be written: $(head -n 1 "$scratch/dd" | printable 120)" \
            "is it write-protected?"
}

find_source() {
    if [ -z "$source" ]; then
        device=$(live_device)
        case $device in
        /dev/*) source=/dev/$(disk_of "$device") ;;
        *) refuse "this is no live system that runs from a medium" "name an image by --from" ;;
        esac
    fi
    [ -r "$source" ] || refuse "$source: cannot be read" "name an image by --from"
    if [ -b "$source" ]; then
        for node in "$source"[0-9]* "${source}p"[0-9]*; do
            [ -b "$node" ] || continue
            [ "$(blkid -o value -s LABEL "$node" 2>/dev/null)" != persistence ] ||
                refuse "$node: the medium has a persistence partition, with personal data" \
                    "copy from the image file or another medium by --from"
        done
    fi
    total=$(source_bytes "$source")
    [ "$total" -gt "$head_bytes" ] || refuse "$source: holds no live medium" "name an image by --from"
    is_iso "$source" || is_gpt "$source" || [ "$(dd if="$source" bs=1 skip=510 count=2 2>/dev/null |
        od -An -tx1 | tr -d ' ')" = 55aa ] ||
        refuse "$source: neither an ISO nor a disk image" "name an image that bootprof build made"
}

check_target() {
    if [ -f "$target" ]; then
        past_cache=nocache
        target_bytes=$(wc -c <"$target")
        [ "$(readlink -f "$target")" != "$(readlink -f "$source")" ] ||
            refuse "$target: this is the source" "name another file"
        what=$target
    else
        name=$(basename "$(readlink -f "$target")")
        [ -e "$root/sys/class/block/$name" ] || refuse "$target: no disk" "bootprof-live list shows disks"
        [ ! -e "$root/sys/class/block/$name/partition" ] ||
            refuse "$target: a partition" "name the whole disk, /dev/$(disk_of "$target")"
        [ "$(disk_of "$source")" != "$name" ] || refuse "$target: this is the source" "name another disk"
        reason=$(why_not "$name")
        [ -z "$reason" ] || refuse "$target: not written to, because $reason" "name another disk"
        # The kernel knows users that no table names, such as the second disk of a btrfs.
        case $(blockdev --rereadpt "$target" 2>&1) in
        *busy*) refuse "$target: not written to, because it is in use" "name another disk" ;;
        esac
        past_cache=direct
        target_bytes=$(disk_bytes "$name")
        what="$target, $(size "$target_bytes"), $(model_of "$name"), with: $(content_of "$name")"
    fi
    # Where there is room behind the live medium, the last MiB is blanked, and gets a table there.
    [ "$target_bytes" -ge $((total + mib)) ] || [ "$target_bytes" -eq "$total" ] ||
        refuse "$target: has $target_bytes bytes, the live medium needs $((total + mib))" \
            "use a larger stick"
}

copy() {
    source='' target='' yes='' dry=''
    while [ $# -gt 0 ]; do
        case $1 in
        --from) [ $# -gt 1 ] || refuse "--from: name an image"; source=$2; shift ;;
        --yes) yes=1 ;;
        --dry-run) dry=1 ;;
        -*) refuse "$1: no such option" "bootprof-live --help lists them" ;;
        *) [ -z "$target" ] || refuse "$1: only one disk can be named"; target=$1 ;;
        esac
        shift
    done
    [ -n "$target" ] || refuse "no disk named" "bootprof-live list shows disks"
    find_source
    check_target
    echo "Source: $source, $(size "$total")"
    echo "Target: $what"
    echo "EVERYTHING on the target will be lost."
    [ -z "$dry" ] || { echo "Nothing was written (--dry-run)."; return; }
    if [ -z "$yes" ]; then
        printf 'Type yes to go on: '
        read -r answer || answer=
        [ "$answer" = yes ] || fail "nothing was written"
    fi
    scratch=$(mktemp -d) || fail "no room for temporary files"
    trap 'rm -rf "$scratch"' EXIT
    trap 'printf "\n" >&2; fail "interrupted; the copy is incomplete and does not boot" "start again" 130' \
        INT TERM HUP
    blank 0
    # A spare partition table at the end would bring the old partitions back.
    [ "$target_bytes" -eq "$total" ] || blank $((target_bytes - mib))
    flush
    each_chunk copy_range Writing
    flush
    each_chunk compare_range Checking
    copy_range 0 "$head_bytes"
    flush
    compare_range 0 "$head_bytes"
    if is_gpt "$target" && ! is_iso "$target" && [ "$target_bytes" -ne "$total" ]; then
        sfdisk --relocate gpt-bak-std "$target" >"$scratch/sfdisk" 2>&1 ||
            fail "$target: cannot write the spare partition table: $(head -n 1 "$scratch/sfdisk" | printable 120)"
        flush
    fi
    [ ! -b "$target" ] || blockdev --rereadpt "$target" 2>"$scratch/dd" || :
    echo "Done: $(size "$total") written, read back and compared."
}
