#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
#
# Adds a live system to a stick behind the partitions that it has, which stay as they are.
#
#   sh add-to-stick.sh DEVICE
#
# DEVICE is a stick (/dev/sdX), or the image of one or a loop device, with an MBR partition table. It gets two
# partitions, for the live system and for UEFI, and GRUB's boot code in front of the first one.
# Needs sfdisk, dd and awk.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
here=$(dirname "$0")

fail()
{
	echo "add-to-stick: error: $1" >&2
	[ -z "${2-}" ] || echo "add-to-stick: hint: $2" >&2
	exit 1
}

# The first sector of each partition of DEVICE, ascending.
starts()
{
	sfdisk --dump -- "$device" | sed -n 's/.*start= *\([0-9]*\),.*size= *[1-9].*/\1/p' | sort -n
}

# write FILE SECTOR
write()
{
	dd if="$here/$1" of="$device" bs=1048576 oflag=seek_bytes seek=$(($2 * 512)) \
		conv=notrunc,fsync status=none
}

[ $# -eq 1 ] || fail "expected one argument, the stick" "sh add-to-stick.sh /dev/sdX"
device=$1
if [ -b "$device" ]; then
	device=$(readlink -f -- "$device")
	node=/sys/class/block/${device##*/}
	[ ! -e "$node/partition" ] || fail "$device: a partition" "name the whole stick"
	case $(cat "$node/removable")$(readlink -f "$node") in
	1* | *usb* | */virtual/block/loop*) ;;
	*) fail "$device: neither removable nor on USB" "check its name with lsblk" ;;
	esac
	[ "$(cat "$node/queue/logical_block_size")" = 512 ] ||
		fail "$device: has sectors of another size than 512 bytes"
	! grep -Eq "^$device(p?[0-9]+)? " /proc/mounts || fail "$device: mounted" "unmount its partitions"
elif [ ! -f "$device" ]; then
	fail "$device: no such stick"
fi

label=$(sfdisk --dump -- "$device" 2>/dev/null | sed -n 's/^label: //p')
[ "$label" = dos ] || fail "$device: has no MBR partition table, but ${label:-none}" \
	"for a stick without one, write the image of a disk (media.kinds = [\"disk\"])"
before=$(starts)
first=$(echo "$before" | head -n 1)
core=$((($(wc -c < "$here/core.img") + 511) / 512 + 1))
[ "${first:-2048}" -ge "$core" ] ||
	fail "$device: its first partition begins at sector $first, GRUB needs $core in front of it"

type=$(awk '$1 == "live" { print $4 }' "$here/partitions.tsv")
esp=$(awk '$1 == "esp" { print $4 }' "$here/partitions.tsv")
live_sectors=$(($(wc -c < "$here/live.img") / 512))
esp_sectors=$(($(wc -c < "$here/esp.img") / 512))
active=
sfdisk --dump -- "$device" | grep -q bootable || active=', bootable'
saved=$(mktemp)
trap 'rm -f "$saved"' EXIT
dd if="$device" of="$saved" bs=512 count=1 status=none
if ! printf 'size=%s, type=%s%s\nsize=%s, type=%s\n' "$live_sectors" "$type" "$active" \
	"$esp_sectors" "$esp" | sfdisk --quiet --append --no-reread -- "$device"; then
	dd if="$saved" of="$device" bs=512 count=1 conv=notrunc status=none
	fail "$device: no room for two partitions of $live_sectors and $esp_sectors sectors" \
		"make its last partition smaller, and delete a live system that was added before"
fi
# The new partitions are those that were not there before, and the larger one is the live system.
sfdisk --dump -- "$device" |
	sed -n 's/.*start= *\([0-9]*\),.*size= *\([0-9]*\),.*/\1 \2/p' |
	while read -r start sectors; do
		case " $(echo "$before" | tr '\n' ' ') " in
		*" $start "*) ;;
		*)
			if [ "$sectors" = "$esp_sectors" ]; then
				write esp.img "$start"
			elif [ "$sectors" = "$live_sectors" ]; then
				write live.img "$start"
			fi
			;;
		esac
	done
write core.img 1
write boot.img 0
echo "$device: the live system was added"
