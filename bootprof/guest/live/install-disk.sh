# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# The disk of an installation. Its partitions are announced to the kernel (addpart) and filled, and
# only then written to the partition table.

# Partitions begin and end at multiples of a MiB. A GUID partition table has 33 sectors at each end.
gpt_first_sector=34
linux_root_mib=300

part_node() {
    case $disk in
    *[0-9]) echo "${disk}p$1" ;;
    *) echo "$disk$1" ;;
    esac
}

# The number of a partition of the disk, by its node.
part_number() { cat "$root/sys/class/block/$(basename "$(readlink -f "$1")")/partition"; }

check_disk() {
    disk=$(disk_named "$answer_disk") || exit
    disk=$(readlink -f "$disk")
    disk_name=$(basename "${disk:-none}")
    { [ -b "${disk:-}" ] && [ -e "$root/sys/class/block/$disk_name" ]; } || refuse "$(translate '%s: no such disk' "$(printf %s "$answer_disk" | printable 60)")" \
            "$(translate 'Name a disk such as /dev/sda, or its serial number.')"
    [ ! -e "$root/sys/class/block/$disk_name/partition" ] ||
        refuse "$(translate '%s: a partition' "$disk")" \
            "$(translate 'Name the disk, %s, and the partition by place.' "/dev/$(disk_of "$disk")")"
    reason=$(why_not "$disk_name")
    [ -z "$reason" ] || refuse "$(translate '%s: not written to, because %s' "$disk" "$reason")" \
        "$(translate 'Name another disk.')"
    # The kernel knows users that no table names, such as the second disk of a btrfs. This also
    # drops the partitions of an installation that was interrupted.
    case $(blockdev --rereadpt "$disk" 2>&1) in
    *busy*) refuse "$(translate '%s: not written to, because %s' "$disk" "$(translate 'it is in use')")" \
        "$(translate 'Name another disk.')" ;;
    esac
    ! command -v udevadm >/dev/null || udevadm settle --timeout=10 || :
    disk_size=$(disk_bytes "$disk_name")
    sector=$(cat "$root/sys/block/$disk_name/queue/logical_block_size")
    sfdisk --dump "$disk" >"$scratch/table" 2>/dev/null || : >"$scratch/table"
    table=$(sed -n 's/^label: *//p' "$scratch/table")
}

# plan_partitions: $scratch/layout gets a line for each new partition: role, number, start and
# length in bytes, type, whatever table there is. Also sets the ESP that is there already.
plan_partitions() {
    esp_node='' replaced=''
    end=$disk_size
    if [ "$answer_place" = whole ]; then
        table=gpt
        begin=$mib
        end=$((disk_size / mib * mib - mib))
        : >"$scratch/used"
    else
        case $table in
        gpt | dos) ;;
        *) refuse "$(translate '%s: no partition table' "$disk")" "$(translate 'Use place = whole.')" ;;
        esac
        case $answer_place in
        free) find_free_space ;;
        *) find_replaced ;;
        esac
        find_esp
        # The numbers that stay used.
        sed -n 's/^[^ ]*[^0-9]\([0-9][0-9]*\) : .*/\1/p' "$scratch/table" |
            grep -vx "${replaced:-0}" >"$scratch/used" || :
    fi
    : >"$scratch/layout"
    at=$begin
    while read -r role size_mib gpt_type dos_type; do
        case $role in
        bios)
            # In front of the first partition: of a whole disk, and of any with a master boot record.
            if [ "$table" != gpt ] || [ "$sector" != 512 ]; then continue; fi
            if [ "$answer_place" = whole ]; then
                add_partition bios $((gpt_first_sector * 512)) \
                    $((mib - gpt_first_sector * 512)) "$gpt_type"
                continue
            fi
            ;;
        esp)
            [ -z "$esp_node" ] || continue
            # A master boot record has four entries: none for firmware that is not there.
            [ "$table" = gpt ] || [ -d /sys/firmware/efi ] || continue
            ;;
        boot) [ "$answer_encrypt" = yes ] || continue ;;
        esac
        if [ "$size_mib" = rest ]; then length=$((end - at)); else length=$((size_mib * mib)); fi
        if [ "$table" = gpt ]; then type=$gpt_type; else type=$dos_type; fi
        add_partition "$role" "$at" "$length" "$type"
        at=$((at + length))
    done <"$boot_files/partitions.tsv"
}

add_partition() {
    number=1
    while grep -qx "$number" "$scratch/used"; do number=$((number + 1)); done
    [ "$table" = gpt ] || [ "$number" -le 4 ] ||
        refuse "$(translate '%s: its partition table has no free entry of four' "$disk")" \
            "$(translate 'Name a partition by place.')"
    echo "$number" >>"$scratch/used"
    echo "$1 $number $2 $3 $4" >>"$scratch/layout"
}

# The largest area without a partition, in whole MiB. (%d of mawk ends at 2^31.)
find_free_space() {
    sfdisk --list-free --output Start,End "$disk" 2>/dev/null |
        awk -v sector="$sector" -v mib="$mib" '
            $1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/ {
                from = int(($1 * sector + mib - 1) / mib) * mib
                to = int(($2 + 1) * sector / mib) * mib
                if (to - from > best) { best = to - from; begin = from; end = to }
            }
            END { if (best > 0) printf "%.0f %.0f\n", begin, end }' >"$scratch/free"
    read -r begin end <"$scratch/free" || refuse "$(translate '%s: no free space' "$disk")" \
        "$(translate 'Name a partition by place.')"
    extended=$(sed -n 's/.*start= *\([0-9]*\), size= *\([0-9]*\), type=\(5\|f\|85\).*/\1 \2/p' "$scratch/table")
    [ -z "$extended" ] || refuse "$(translate '%s: has an extended partition' "$disk")" \
        "$(translate 'Name a primary partition by place.')"
}

find_replaced() {
    node=$(readlink -f "$answer_place")
    { [ -b "$node" ] && [ "$(disk_of "$node")" = "$disk_name" ] &&
        [ -e "$root/sys/class/block/$(basename "$node")/partition" ]; } || refuse "$(translate '%s: no partition of %s' "$answer_place" "$disk")"
    replaced=$(part_number "$node")
    [ "$table" = gpt ] || [ "$replaced" -le 4 ] ||
        refuse "$(translate '%s: a logical partition' "$answer_place")" "$(translate 'Name a primary partition by place.')"
    case $(blkid -p -o value -s PART_ENTRY_TYPE "$node" 2>/dev/null) in
    c12a7328-* | 0xef) refuse "$(translate '%s: the partition that UEFI starts systems from' "$answer_place")" ;;
    0x5 | 0xf | 0x85) refuse "$(translate '%s: an extended partition' "$answer_place")" "$(translate 'Name a primary partition by place.')" ;;
    esac
    from=$(($(cat "$root/sys/class/block/$(basename "$node")/start") * 512))
    begin=$(((from + mib - 1) / mib * mib))
    end=$(((from + $(cat "$root/sys/class/block/$(basename "$node")/size") * 512) / mib * mib))
}

find_esp() {
    for node in "$disk"[0-9]* "${disk}p"[0-9]*; do
        [ -b "$node" ] || continue
        case $(blkid -p -o value -s PART_ENTRY_TYPE "$node" 2>/dev/null) in
        c12a7328-* | 0xef)
            [ "$(blkid -o value -s TYPE "$node")" != vfat ] || esp_node=$node ;;
        esac
    done
}

field() { awk -v role="$1" -v n="$2" '$1 == role { print $n }' "$scratch/layout"; }
node_of() { part_node "$(field "$1" 2)"; }
has() { [ -n "$(field "$1" 2)" ]; }

# The root needs room for all files, the kernel, the initial ramdisk, and some for use.
check_room() {
    [ -z "$yes" ] || { translate 'Measuring the system ...'; echo; }
    find "$source" -xdev -printf '%s\n' >"$scratch/sizes" || fail "$(translate 'the root cannot be read')"
    system_bytes=$(awk '{ sum += int(($1 + 4095) / 4096) * 4096 } END { printf "%.0f\n", sum }' "$scratch/sizes")
    needed_bytes=$((system_bytes + system_bytes / 8 + linux_root_mib * mib))
    room=$(field root 4)
    [ "${room:-0}" -ge "$needed_bytes" ] ||
        refuse "$(translate '%s: the system needs %s, there is room for %s' "$disk" "$(size "$needed_bytes")" "$(size "${room:-0}")")" \
            "$(translate 'Use a larger disk or another place.')"
}

announce_partitions() {
    if [ "$answer_place" = whole ]; then
        # Nothing starts from a disk that is half installed; a spare table would bring the old back.
        zero 0 "$mib"
        zero $((disk_size - mib)) "$mib"
        sync "$disk"
        blockdev --rereadpt "$disk" 2>"$scratch/log" || fail "$(translate '%s: still has the old partitions' "$disk")" "$(translate 'Restart and try again.')"
    fi
    [ -z "$replaced" ] || delpart "$disk" "$replaced" 2>"$scratch/log" || fail "$(translate '%s: not written to, because %s' "$answer_place" "$(translate 'it is in use')")"
    while read -r _ number start length _; do
        addpart "$disk" "$number" $((start / 512)) $((length / 512)) 2>"$scratch/log" ||
            fail "$(translate '%s: the kernel refuses partition %s' "$disk" "$number")"
    done <"$scratch/layout"
    ! command -v udevadm >/dev/null || udevadm settle --timeout=10 || :
    while read -r _ number _; do
        [ -b "$(part_node "$number")" ] || fail "$(translate '%s: did not appear' "$(part_node "$number")")"
    done <"$scratch/layout"
}

# The kernel has the partitions of the table again.
forget_partitions() {
    blockdev --rereadpt "$disk" 2>/dev/null || :
}

zero() {
    dd if=/dev/zero of="$disk" bs="$mib" oflag=seek_bytes iflag=count_bytes seek="$1" count="$2" \
        conv=notrunc status=none 2>"$scratch/log" || fail "$(translate '%s: cannot be written' "$disk")" "$(translate 'Is it write-protected?')"
}

# Without what GRUB cannot read, whatever the default is.
make_ext4() {
    mke2fs -q -F -t ext4 -L "$2" -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
        "$1" >"$scratch/log" 2>&1 || fail "$(translate '%s: cannot make a file system: %s' "$1" "$(head -n 1 "$scratch/log" | printable 120)")"
}

make_file_systems() {
    root_node=$(node_of root)
    root_holder=$root_node
    wipefs -qa "$root_node" 2>"$scratch/log" || fail "$(translate '%s: cannot be written' "$root_node")"
    if [ "$answer_encrypt" = yes ]; then
        { printf %s "$answer_passphrase" |
            cryptsetup luksFormat --batch-mode --type luks2 --key-file - "$root_node" &&
            printf %s "$answer_passphrase" |
            cryptsetup open --key-file - "$root_node" "$crypt_name"; } || fail "$(translate '%s: cannot be encrypted' "$root_node")"
        root_holder=/dev/mapper/$crypt_name
    fi
    make_ext4 "$root_holder" root
    ! has boot || make_ext4 "$(node_of boot)" boot
    if has esp; then
        esp_node=$(node_of esp)
        mkfs.vfat -n ESP "$esp_node" >"$scratch/log" 2>&1 || fail "$(translate '%s: cannot make a file system: %s' "$esp_node" "$(head -n 1 "$scratch/log" | printable 120)")"
    fi
}

mount_target() {
    mount "$root_holder" "$target" 2>"$scratch/log" || fail "$(translate '%s: cannot be mounted' "$root_holder")"
    if has boot; then
        mkdir "$target/boot"
        mount "$(node_of boot)" "$target/boot" 2>"$scratch/log" || fail "$(translate '%s: cannot be mounted' "$(node_of boot)")"
    fi
}

unmount_target() {
    for folder in dev/pts dev proc sys run boot/efi boot ''; do
        ! mountpoint -q "$target/$folder" || umount "$target/$folder" || umount -l "$target/$folder"
    done
}

close_root() {
    [ ! -e "/dev/mapper/$crypt_name" ] || [ "$answer_encrypt" != yes ] || cryptsetup close "$crypt_name"
}

flush_disk() {
    sync
    blockdev --flushbufs "$disk" || fail "$(translate '%s: cannot be flushed' "$disk")" "$(translate 'The installation is incomplete. Use another disk.')"
}

# The table that there was, with the new partitions.
write_table() {
    if [ "$answer_place" = whole ]; then
        echo "label: gpt" >"$scratch/new"
        echo "first-lba: $((gpt_first_sector * 512 / sector > 6 ? gpt_first_sector * 512 / sector : 6))" >>"$scratch/new"
    else
        grep -v "^$(part_node "${replaced:-none}") :" "$scratch/table" >"$scratch/new"
    fi
    while read -r role number start length type; do
        line="$(part_node "$number") : start=$((start / sector)), size=$((length / sector)), type=$type"
        [ "$table" != gpt ] || line="$line, name=\"$role\""
        echo "$line" >>"$scratch/new"
    done <"$scratch/layout"
    # No signature is wiped: the file systems are there already.
    sfdisk --quiet --force --no-reread --no-tell-kernel --wipe never --wipe-partitions never \
        "$disk" <"$scratch/new" >"$scratch/log" 2>&1 ||
        fail "$(translate '%s: cannot write the partition table: %s' "$disk" "$(head -n 1 "$scratch/log" | printable 120)")"
    sync "$disk"
}
