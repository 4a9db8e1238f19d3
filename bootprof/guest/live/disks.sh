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
    [ "$disk" != "$(live_disk)" ] || { echo "this system runs from it"; return; }
    [ "$(cat "$sys/ro")" = 0 ] || { echo "it is read-only"; return; }
    [ "$(cat "$sys/size")" -gt 0 ] || { echo "there is no medium in it"; return; }
    for part in "$sys" "$sys/$disk"*; do
        [ -e "$part/dev" ] || continue
        number=$(cat "$part/dev")
        # By number or by name: a btrfs has numbers of its own.
        if awk -v n="$number" -v d="/dev/$(basename "$part")" \
            '$3 == n { found = 1 }
            { for (i = 7; i < NF; i++) if ($i == "-" && $(i + 2) == d) found = 1 }
            END { exit !found }' "$root/proc/self/mountinfo"; then
            echo "$(basename "$part") is mounted"
            return
        fi
        if awk -v d="/dev/$(basename "$part")" '$1 == d { found = 1 } END { exit !found }' \
            "$root/proc/swaps"; then
            echo "$(basename "$part") is used as swap"
            return
        fi
        for holder in "$part/holders/"*; do
            [ -e "$holder" ] || continue
            echo "$(basename "$part") is used by $(basename "$holder") (RAID, LVM or encryption)"
            return
        done
    done
}

model_of() {
    model=$(cat "$root/sys/block/$1/device/vendor" "$root/sys/block/$1/device/model" 2>/dev/null |
        tr -s ' \n' ' ' | printable 24)
    echo "${model:-unknown}"
}

content_of() {
    found=
    for node in "/dev/$1" "/dev/$1"[0-9]* "/dev/$1p"[0-9]*; do
        [ -b "$node" ] || continue
        value=$(blkid -o value -s LABEL "$node" 2>/dev/null | printable 16)
        [ -n "$value" ] || value=$(blkid -o value -s TYPE "$node" 2>/dev/null | printable 16)
        [ -z "$value" ] || found="$found${found:+, }$value"
    done
    echo "${found:-nothing known}" | cut -c 1-32
}

list() {
    none=1
    for sys in "$root/sys/block/"*; do
        disk=$(basename "$sys")
        case $disk in sd* | mmcblk*[0-9] | nvme* | vd*) ;; *) continue ;; esac
        [ -e "$sys/removable" ] || continue
        case $(cat "$sys/removable")$(readlink -f "$sys") in 1* | */usb*) ;; *) continue ;; esac
        [ -z "$(why_not "$disk")" ] || continue
        [ -z "$none" ] || printf '%-14s %9s  %-24s  %s\n' DEVICE SIZE MODEL CONTENT
        none=
        printf '%-14s %9s  %-24s  %s\n' "/dev/$disk" "$(size "$(disk_bytes "$disk")")" \
            "$(model_of "$disk")" "$(content_of "$disk")"
    done
    [ -z "$none" ] || echo "No removable disk that is not in use. Plug in a stick and try again."
}
