# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# What a copy writes where: pieces of the source, and the partition tables that come last.

# The partitions of builder/media/disklayout.py, as sfdisk takes them.
bios_type=21686148-6449-6E6F-744E-656564454649
esp_type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
# Memory to open an encrypted partition, which a small machine has, too. (Otherwise cryptsetup takes
# half of the memory of the machine that makes the copy, up to 1 GiB.)
luks_kib=131072
linux_type=0FC63DAF-8483-4772-8E79-3D69D8477DE4

table_of() { sfdisk --dump -- "$1" 2>/dev/null | sed -n 's/^label: //p'; }

# The partitions of a table that was dumped: "START SIZE TYPE NAME" a line, in sectors.
partitions() {
    sed -n 's/.*start= *\([0-9]*\), size= *\([1-9][0-9]*\), type=\([^,]*\)\(.*\)/\1 \2 \3 \4/p' -- "$1" |
        sed 's/ ,.*name="\([a-z]*\)".*/ \1/'
}

# append SCRIPT: partitions added to the tables in $scratch/disk.
append() {
    sfdisk --quiet --append --no-reread --no-tell-kernel "$scratch/disk" <"$1" >"$scratch/sfdisk" 2>&1 ||
        refuse "$(translate '%s: no room for the new partitions: %s' "$target" \
            "$(sed 's/^sfdisk: //' "$scratch/sfdisk" | head -n 1 | printable 120)")" \
            "$(translate 'Make its last partition smaller, or use another stick.')"
    sfdisk --dump "$scratch/disk" >"$scratch/after"
}

# The tables of the target, to be, in a sparse file of its size: only the first and last MiB count.
sparse_disk() {
    rm -f "$scratch/disk"
    truncate -s "$target_bytes" "$scratch/disk" ||
        fail "$(translate 'no room for temporary files in %s' "$scratch")"
    dd if="$1" of="$scratch/disk" bs="$mib" count=1 conv=notrunc status=none
}

plan_whole() {
    echo "$mib $((total - mib)) $mib" >"$scratch/pieces"
    sparse_disk "$source"
    end=$total
    if is_gpt "$source" && ! is_iso "$source" && [ "$target_bytes" -ne "$total" ]; then
        sfdisk --relocate gpt-bak-std "$scratch/disk" >"$scratch/sfdisk" 2>&1 ||
            fail "$source: $(head -n 1 "$scratch/sfdisk" | printable 120)"
    fi
    [ -z "$persistence" ] || plan_persistence
}

# Behind the live system, and in front of the mark and the spare partition table.
plan_persistence() {
    persistence_from=$(((end + mib - 1) / mib * mib))
    room=$((target_bytes / mib * mib - mib - marker_bytes - persistence_from))
    persistence_bytes=$room
    [ "$persistence" = rest ] || persistence_bytes=$persistence
    { [ "$persistence_bytes" -le "$room" ] && [ "$room" -ge $((64 * mib)) ]; } ||
        refuse "$(translate '%s: has room for %s of changes' "$target" \
            "$(size $((room > 0 ? room : 0)))")" "$(translate 'At least 68 MB are needed. Choose less, or use a larger stick.')"
    if is_iso "$source"; then
        # sfdisk does not extend a table with entries inside of each other. The first entry is for the
        # whole ISO: Linux mounts no partition of a disk that is mounted as a whole itself. Of type 0,
        # which firmware ignores, and Linux does not.
        if [ "$(number_at "$scratch/disk" 458 4)" = 0 ]; then
            {
                printf '\0\376\377\377\0\376\377\377'
                little_endian 0 4
                little_endian $((total / 512)) 4
            } | patch "$scratch/disk" 446
        fi
        entry=462
        while [ "$(number_at "$scratch/disk" $((entry + 12)) 4)" != 0 ]; do
            entry=$((entry + 16))
            [ "$entry" -le 494 ] || refuse "$(translate '%s: its partition table is full' "$source")"
        done
        {
            printf '\0\376\377\377\203\376\377\377'
            little_endian $((persistence_from / 512)) 4
            little_endian $((persistence_bytes / 512)) 4
        } | patch "$scratch/disk" "$entry"
    else
        echo "start=$((persistence_from / 512)), size=$((persistence_bytes / 512)), type=$linux_type, name=persistence" \
            >"$scratch/script"
        append "$scratch/script"
    fi
}

# The parts of a medium: "live", "esp" and "core" with offset and length in bytes.
source_parts() {
    if is_iso "$source"; then
        # El Torito 1.0: the boot record names the catalogue, whose first entry the image for a BIOS,
        # which has its length in its boot information table.
        catalogue=$(($(number_at "$source" $((17 * 2048 + 71)) 4) * 2048))
        image=$(($(number_at "$source" $((catalogue + 40)) 4) * 2048))
        # The segment of the block list of GRUB's core image.
        [ "$(number_at "$source" $((image + 2048 + 510)) 2)" = 2080 ] ||
            refuse "$(translate '%s: --keep cannot use its boot loader' "$source")" \
                "$(translate 'Build the medium with the boot loader GRUB.')"
        core_from=$((image + 2048))
        core_bytes=$(($(number_at "$source" $((image + 16)) 4) - 2048))
        live_from=0 live_bytes=$total
        esp_from=$(($(number_at "$source" 470 4) * 512))
        esp_bytes=$(($(number_at "$source" 474 4) * 512))
        live_type_dos=83
    else
        sfdisk --dump -- "$source" 2>/dev/null >"$scratch/source"
        partitions "$scratch/source" >"$scratch/list"
        eval "$(awk '$4 == "bios" || $4 == "esp" || $4 == "live" {
            name = $4 == "bios" ? "core" : $4
            printf "%s_from=%d %s_bytes=%d\n", name, $1 * 512, name, $2 * 512 }' "$scratch/list")"
        live_type_dos=83
    fi
    { [ -n "${live_from:-}" ] && [ -n "${esp_from:-}" ] && [ "${core_bytes:-0}" -gt 512 ]; } ||
        refuse "$(translate '%s: --keep does not know its partitions' "$source")" \
            "$(translate 'Use a medium that bootprof build made.')"
    live_sectors=$((2048 * ((live_bytes + mib - 1) / mib)))
    esp_sectors=$((2048 * ((esp_bytes + mib - 1) / mib)))
    core_sectors=$(((core_bytes + 511) / 512))
}

# Behind the partitions of the target, which stay.
plan_beside() {
    [ -n "$target_table" ] ||
        refuse "$(translate '%s: has no partition table to keep' "$target")" \
            "$(translate 'Leave --keep out to use the whole stick.')"
    ! is_iso "$target" ||
        refuse "$(translate '%s: holds the image of a disc, which is no partition that can be kept' "$target")" \
            "$(translate 'Leave --keep out to use the whole stick.')"
    source_parts
    sparse_disk "$target"
    last=$((target_bytes / mib * mib - mib))
    dd if="$target" of="$scratch/disk" bs="$mib" iflag=skip_bytes oflag=seek_bytes skip="$last" \
        seek="$last" conv=notrunc status=none
    sfdisk --dump "$scratch/disk" >"$scratch/before" 2>/dev/null
    partitions "$scratch/before" >"$scratch/kept"
    first=$(sort -n "$scratch/kept" | awk 'NR == 1 { print $1 }')
    if [ "$target_table" = gpt ]; then
        printf 'size=2048, type=%s, name=bios\nsize=%s, type=%s, name=esp\nsize=%s, type=%s, name=live\n' \
            $bios_type "$esp_sectors" $esp_type "$live_sectors" $linux_type >"$scratch/script"
    else
        active=
        grep -q bootable "$scratch/before" || active=', bootable'
        printf 'size=%s, type=%s%s\nsize=%s, type=ef\n' "$live_sectors" "$live_type_dos" "$active" \
            "$esp_sectors" >"$scratch/script"
        [ "${first:-2048}" -gt "$core_sectors" ] ||
            refuse "$(translate '%s: has no room for a boot loader in front of its first partition' "$target")"
    fi
    [ -z "$persistence" ] || {
        size_of=
        [ "$persistence" = rest ] || size_of="size=$((persistence / 512)), "
        name_of=
        [ "$target_table" != gpt ] || name_of=', name=persistence'
        echo "${size_of}type=$([ "$target_table" = gpt ] && echo $linux_type || echo 83)$name_of" >>"$scratch/script"
    }
    append "$scratch/script"
    partitions "$scratch/after" >"$scratch/all"
    # In the order of the script: the lines that were not there before.
    awk 'NR == FNR { old[$1] = 1; next } !($1 in old)' "$scratch/kept" "$scratch/all" >"$scratch/new"
    if [ "$target_table" = gpt ]; then
        core_to=$(awk 'NR == 1 { print $1 }' "$scratch/new")
        sed -i 1d "$scratch/new"
        esp_line=1 live_line=2
    else
        core_to=1 esp_line=2 live_line=1
    fi
    live_to=$(($(awk -v n="$live_line" 'NR == n { print $1 }' "$scratch/new") * 512))
    esp_to=$(($(awk -v n="$esp_line" 'NR == n { print $1 }' "$scratch/new") * 512))
    if [ -n "$persistence" ]; then
        persistence_from=$(($(awk 'NR == 3 { print $1 }' "$scratch/new") * 512))
        persistence_bytes=$(($(awk 'NR == 3 { print $2 }' "$scratch/new") * 512))
    fi
    printf '%s %s %s\n' "$live_from" "$live_bytes" "$live_to" "$esp_from" "$esp_bytes" "$esp_to" \
        >"$scratch/pieces"
    # GRUB's core image, with the list of its own sectors in the format of builder/grub.py.
    dd if="$source" of="$scratch/core" bs="$mib" iflag=skip_bytes,count_bytes,fullblock \
        skip="$core_from" count="$core_bytes" status=none
    truncate -s $((core_sectors * 512)) "$scratch/core"
    { little_endian $((core_to + 1)) 8; little_endian $((core_sectors - 1)) 2; printf '\040\010'; } |
        patch "$scratch/core" 500
    if is_iso "$source"; then
        # boot_hybrid.img starts like boot.img, and differs in a place of its own only.
        head -c 440 "${marker:-$source}" >"$scratch/code"
    else
        dd if="$source" of="$scratch/code" bs=440 count=1 status=none
    fi
    little_endian "$core_to" 8 | patch "$scratch/code" 92
    dd if="$scratch/code" of="$scratch/disk" conv=notrunc status=none
}

# The file system for changes, made in its place; encrypted if asked for.
make_persistence() {
    mkdir "$scratch/tree"
    echo '/ union' >"$scratch/tree/persistence.conf"
    if [ -n "$encrypted" ]; then
        loop=$(losetup --find --show --offset "$persistence_from" --sizelimit "$persistence_bytes" "$target") ||
            broken "$(translate '%s: cannot be encrypted: no loop device' "$target")" ''
        mapped=bootprof-copy-$$
        if printf %s "$passphrase" | cryptsetup --batch-mode luksFormat --type luks2 \
            --pbkdf-memory "$luks_kib" --key-file - "$loop" 2>"$scratch/luks" &&
            printf %s "$passphrase" | cryptsetup open --key-file - "$loop" "$mapped" 2>"$scratch/luks" &&
            mke2fs -q -F -t ext4 -L persistence -d "$scratch/tree" "/dev/mapper/$mapped" 2>"$scratch/luks"; then
            failed=
        else
            failed=1
        fi
        sync
        cryptsetup close "$mapped" 2>/dev/null
        losetup -d "$loop"
        [ -z "$failed" ] ||
            broken "$(translate '%s: cannot be encrypted: %s' "$target" "$(head -n 1 "$scratch/luks" | printable 120)")" ''
    else
        if ! {
            mke2fs -q -F -t ext4 -L persistence -d "$scratch/tree" -E "offset=$persistence_from" \
                "$target" $((persistence_bytes / 1024))k >"$scratch/mke2fs" 2>&1 && sync "$target" &&
                e2fsck -fn "$target?offset=$persistence_from" >"$scratch/mke2fs" 2>&1
        }; then
            broken "$(translate '%s: the partition for changes cannot be made: %s' "$target" \
                "$(tail -n 1 "$scratch/mke2fs" | printable 120)")" ''
        fi
    fi
    rm -r "$scratch/tree"
    flush
}
