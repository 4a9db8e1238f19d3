# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Writes to the target of a copy, reads it back, and marks it as incomplete until the last write.

chunk_mib=16
# The last write of a copy: boot code and partition table. Of an ISO also the first descriptors of
# its file system, by which UEFI finds its El Torito image on a stick, too.
last_write_bytes=4096
last_write_bytes_iso=36864
# builder/media/incomplete.py: GRUB's core image and a FAT file system with GRUB for UEFI.
marker_bytes=$((2 * mib))
marker_fat=262144

# What dd says, or the first line of another program's errors.
said() { grep -v -e records -e 'bytes.*copied' "$1" | head -n 1 | sed 's/^[^:]*dd: //' | printable 120; }

# Ends the copy; the target gets its mark again, if it still takes it.
broken() {
    trap '' INT TERM HUP
    if [ -z "$gauge" ]; then printf '\n' >&2; fi
    (mark) >/dev/null 2>&1
    fail "$1" "$2" "${3:-1}"
}

# The node of a stick that is pulled out vanishes: dd must not make a file of that name.
# write_range FILE FROM LENGTH TO: into the target, in bytes.
write_range() {
    dd if="$1" of="$target" bs="$mib" iflag=skip_bytes,count_bytes,fullblock \
        oflag="${write_flags}seek_bytes" skip="$2" seek="$4" count="$3" conv=notrunc,nocreat 2>"$scratch/dd" &&
        return
    reason=$(said "$scratch/dd")
    case $reason in
    *reading*) broken "$(translate '%s: cannot be read near byte %s' "$1" "$2")$(unreadable_file)" \
        "$(translate 'The copy is incomplete. Use another medium to copy from.')" ;;
    esac
    if [ ! -f "$target" ] && [ "$(blockdev --getsize64 "$target" 2>/dev/null || echo 0)" = 0 ]; then
        broken "$(translate '%s: was pulled out' "$target")" \
            "$(translate 'The copy is incomplete. Plug it in and start again.')"
    fi
    broken "$(translate '%s: cannot be written near byte %s: %s' "$target" "$4" "${reason##*: }")" \
        "$(translate 'The copy is incomplete. Use another stick.')"
}

# Name of the file of the running medium that cannot be read.
unreadable_file() {
    [ "$source" = "${live_source:-}" ] || return 0
    find "$root/run/live/medium" -type f | while read -r file; do
        dd if="$file" of=/dev/null bs="$mib" 2>/dev/null ||
            { translate ', in the file %s' "$(printf %s "${file#"$root/run/live/medium/"}" | printable 120)"; return; }
    done
}

# compare_range FILE FROM LENGTH TO: the target as the device has it, not as the page cache does.
compare_range() {
    dd if="$target" bs="$mib" iflag="$past_cache,skip_bytes,count_bytes,fullblock" skip="$4" \
        count="$3" 2>"$scratch/dd" | cmp -i "$2:0" -n "$3" "$1" - >"$scratch/cmp" 2>&1 && return
    difference=$(sed -n 's/.*differ: byte \([0-9]*\),.*/\1/p' "$scratch/cmp")
    broken "$(translate '%s: does not hold what was written, at byte %s' "$target" \
        $(($4 + ${difference:-1} - 1)))" \
        "$(translate 'The stick is faulty, or smaller than it says. Use another one.')"
}

flush() {
    sync "$target" 2>"$scratch/dd" ||
        broken "$(translate '%s: cannot be flushed' "$target")" \
            "$(translate 'The copy is incomplete. Use another stick.')"
    # Or reads come from the cache of the kernel.
    [ ! -b "$target" ] || blockdev --flushbufs "$target" 2>"$scratch/dd" || :
}

# each_piece ACTION VERB: for pieces of the source, in the lines "FROM LENGTH TO" of $scratch/pieces.
each_piece() {
    began=$(seconds)
    finished=0
    all=$(awk '{ sum += $2 } END { printf "%d", sum }' "$scratch/pieces")
    while read -r from length to <&3; do
        while [ "$length" -gt 0 ]; do
            some=$((chunk_mib * mib))
            [ "$length" -ge "$some" ] || some=$length
            "$1" "$source" "$from" "$some" "$to"
            from=$((from + some)) to=$((to + some)) length=$((length - some))
            finished=$((finished + some))
            progress "$2" "$finished" "$all"
        done
    done 3<"$scratch/pieces"
    [ -n "$gauge" ] || printf '\n' >&2
}

# put FILE FROM LENGTH TO: written, flushed, read back and compared.
put() {
    write_range "$@"
    flush
    compare_range "$@"
}

zeros() {
    dd if=/dev/zero of="$target" bs="$mib" iflag=count_bytes count="$2" seek="$1" \
        oflag=seek_bytes conv=notrunc,nocreat,fsync 2>"$scratch/dd"
}

# Where the mark lies; nothing if there is no room for it behind the live medium. The last MiB is
# for the spare partition table.
marker_place() {
    [ -z "$marker" ] || [ "$target_bytes" -lt $((total + marker_bytes + mib)) ] ||
        echo $(((target_bytes / mib - 1) * mib - marker_bytes))
}

# A boot sector that leads to a menu behind the live medium, which says that the copy is incomplete.
# Everything that another partition table could be found by is cleared.
mark() {
    [ -n "$marked" ] || return 0
    zeros 0 "$mib" || return
    [ "$target_bytes" -eq "$total" ] || zeros $((target_bytes - mib)) "$mib" || return
    place=$(marker_place)
    if [ -n "$place" ]; then
        cp "$marker" "$scratch/marker" || return
        core=$((place / 512 + 1))
        # The list of the sectors behind the first one, in the format of builder/grub.py.
        little_endian $((core + 1)) 8 | patch "$scratch/marker" $((512 + 500))
        dd if="$scratch/marker" of="$target" bs="$mib" seek="$place" oflag=seek_bytes \
            conv=notrunc,nocreat,fsync 2>"$scratch/dd" || return
        head -c 440 "$marker" >"$scratch/sector"
        truncate -s 512 "$scratch/sector"
        little_endian "$core" 8 | patch "$scratch/sector" 92
        # One partition, active, of the type of an EFI system partition.
        {
            printf '\200\376\377\377\357\376\377\377'
            little_endian $(((place + marker_fat) / 512)) 4
            little_endian $(((marker_bytes - marker_fat) / 512)) 4
        } | patch "$scratch/sector" 446
        printf '\125\252' | patch "$scratch/sector" 510
        dd if="$scratch/sector" of="$target" conv=notrunc,nocreat,fsync 2>"$scratch/dd" || return
    fi
    [ ! -b "$target" ] || blockdev --flushbufs "$target" 2>"$scratch/dd" || :
}
