# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Disks of the machine, and why one must not be written to.

# Name of the disk of a block device (sda of /dev/sda1); empty if it is not a block device.
disk_of() {
    name=$(basename "$(readlink -f "$1")")
    [ -e "$root/sys/class/block/$name" ] || return 0
    if [ -e "$root/sys/class/block/$name/partition" ]; then
        basename "$(dirname "$(readlink -f "$root/sys/class/block/$name")")"
    else
        echo "$name"
    fi
}

disk_bytes() { echo $(($(cat "$root/sys/block/$1/size") * 512)); }

live_device() {
    awk '$5 == "/run/live/medium" { for (i = 7; i < NF; i++) if ($i == "-") print $(i + 2) }' \
        "$root/proc/self/mountinfo" | tail -n 1
}

live_disk() {
    device=$(live_device)
    case $device in /dev/*) disk_of "$device" ;; esac
}

# Why a disk must not be written to; nothing if it can be.
why_not() {
    disk=$1
    sys=$root/sys/block/$disk
    [ "$disk" != "$(live_disk)" ] || { translate 'this system runs from it'; return; }
    [ "$(cat "$sys/ro")" = 0 ] || { translate 'it is read-only'; return; }
    [ "$(cat "$sys/size")" -gt 0 ] || { translate 'there is no medium in it'; return; }
    for part in "$sys" "$sys/$disk"*; do
        [ -e "$part/dev" ] || continue
        number=$(cat "$part/dev")
        node=$(basename "$part")
        # By number or by name: a btrfs has numbers of its own.
        if awk -v n="$number" -v d="/dev/$node" \
            '$3 == n { found = 1 }
            { for (i = 7; i < NF; i++) if ($i == "-" && $(i + 2) == d) found = 1 }
            END { exit !found }' "$root/proc/self/mountinfo"; then
            translate '%s is mounted' "$node"
            return
        fi
        if awk -v d="/dev/$node" '$1 == d { found = 1 } END { exit !found }' \
            "$root/proc/swaps"; then
            translate '%s is used as swap' "$node"
            return
        fi
        for holder in "$part/holders/"*; do
            [ -e "$holder" ] || continue
            translate '%s is used by %s (RAID, LVM or encryption)' "$node" "$(basename "$holder")"
            return
        done
        for backing in "$root/sys/block/"loop*/loop/backing_file; do
            [ -e "$backing" ] || continue
            [ "$(cat "$backing")" = "/dev/$node" ] || continue
            translate '%s is used by a loop device' "$node"
            return
        done
    done
}

# Serial number of a disk: its own, or that of the USB device that it belongs to.
serial_of() {
    for file in "$root/sys/block/$1/serial" "$root/sys/block/$1/device/serial"; do
        [ ! -e "$file" ] || { printable 32 <"$file"; return; }
    done
    folder=$(readlink -f "$root/sys/block/$1")
    while [ "${#folder}" -gt "$((${#root} + 5))" ]; do
        if [ -e "$folder/idVendor" ]; then
            [ ! -e "$folder/serial" ] || printable 32 <"$folder/serial"
            return
        fi
        folder=$(dirname "$folder")
    done
}

# Path of the disk that a user names by its path or by its serial number.
disk_named() {
    case $1 in */* | stdio:*) echo "$1"; return ;; esac
    [ ! -e "$1" ] || { echo "$1"; return; }
    named=
    for sys in "$root/sys/block/"*; do
        [ "$(serial_of "$(basename "$sys")")" = "$1" ] || continue
        [ -z "$named" ] ||
            refuse "$(translate '%s: several disks have this serial number' "$1")" \
                "$(translate 'Name the disk by its path.')"
        named=/dev/$(basename "$sys")
    done
    [ -n "$named" ] || refuse "$(translate '%s: no disk has this path or serial number' "$1")" \
        "$(translate 'bootprof-live list shows the disks.')"
    echo "$named"
}

# Drives that write discs.
disc_writers() {
    awk '/^drive name:/ { for (i = 3; i <= NF; i++) name[i] = $i }
        /^Can write (CD-R|DVD-R):/ { for (i = 4; i <= NF; i++) if ($i == 1) able[i - 1] = 1 }
        END { for (i in able) print name[i] }' "$root/proc/sys/dev/cdrom/info" 2>/dev/null | sort
}

model_of() {
    model=$(cat "$root/sys/block/$1/device/vendor" "$root/sys/block/$1/device/model" 2>/dev/null |
        tr -s ' \n' ' ' | printable 24 | sed 's/ *$//')
    echo "${model:-$(translate unknown)}"
}

# What is on a disk or partition: the label, or the type of the file system.
content_of_node() {
    value=$(blkid -o value -s LABEL "$1" 2>/dev/null | printable 16)
    [ -n "$value" ] || value=$(blkid -o value -s TYPE "$1" 2>/dev/null | printable 16)
    echo "$value"
}

content_of() {
    found=
    for node in "/dev/$1" "/dev/$1"[0-9]* "/dev/$1p"[0-9]*; do
        [ -b "$node" ] || continue
        value=$(content_of_node "$node")
        [ -z "$value" ] || found="$found${found:+, }$value"
    done
    echo "${found:-$(translate nothing)}" | cut -c 1-32
}

# Disks that a copy is offered for: removable and USB disks that are not in use.
offered() {
    for sys in "$root/sys/block/"*; do
        disk=$(basename "$sys")
        case $disk in sd* | mmcblk*[0-9] | nvme* | vd*) ;; *) continue ;; esac
        [ -e "$sys/removable" ] || continue
        case $(cat "$sys/removable")$(readlink -f "$sys") in 1* | */usb*) ;; *) continue ;; esac
        [ -z "$(why_not "$disk")" ] || continue
        echo "$disk"
    done
}

list() {
    disks=$(offered)
    if [ -z "$disks" ]; then
        translate 'No removable disk that is not in use. Plug in a stick and try again.'
        echo
    else
        printf '%s %s  %s  %s  %s\n' "$(column 12 "$(translate DEVICE)")" \
            "$(column -9 "$(translate SIZE)")" "$(column 20 "$(translate MODEL)")" \
            "$(column 16 "$(translate SERIAL)")" "$(translate CONTENT)"
        for disk in $disks; do
            printf '%-12s %9s  %-20s  %-16s  %s\n' "/dev/$disk" "$(size "$(disk_bytes "$disk")")" \
                "$(model_of "$disk" | cut -c 1-20)" "$(serial_of "$disk")" "$(content_of "$disk")"
        done
    fi
    ! command -v xorriso >/dev/null || for drive in $(disc_writers); do
        printf '%-12s %9s  %s\n' "/dev/$drive" '' "$(translate 'writes CDs or DVDs')"
    done
}
