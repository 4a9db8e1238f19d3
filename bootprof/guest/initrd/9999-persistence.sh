#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# live-boot looks for persistence on every disk of a machine, mounts it unchecked, and does not wait
# for a stick. These functions take the place of its own: only the disk that the system is booted
# from, removable disks and disks on USB count; a file system is checked before it is mounted; and a
# disk that is late, or whose partition table is, is waited for.

# Print the folder in /sys of the disk that a device is on, through what encrypts it and the loop
# device over that.
live_disk_of ()
{
	_name="$(readlink -f "$1")"
	_name="${_name##*/}"
	while :
	do
		_disk="$(readlink -f "/sys/class/block/${_name}")"
		[ -e "${_disk}/partition" ] && _disk="${_disk%/*}"
		_below=
		for _slave in "/sys/class/block/${_name}/slaves"/*
		do
			[ -e "${_slave}" ] && _below="${_slave##*/}"
		done
		if [ -e "${_disk}/loop/backing_file" ]
		then
			read -r _backing_file < "${_disk}/loop/backing_file"
			[ -b "${_backing_file}" ] && _below="$(readlink -f "${_backing_file}")"
		fi
		[ -z "${_below}" ] && break
		_name="${_below##*/}"
	done
	echo "${_disk}"
}

# Succeed for a disk that may be written to.
live_disk_may_be_written ()
{
	[ "$(cat "$1/removable" 2>/dev/null)" = 1 ] && return 0
	case "$1" in
		*/usb[0-9]*) return 0 ;;
	esac
	while read -r _device _folder _rest
	do
		case "${_folder}" in
			/run/live/medium|/run/live/findiso|/run/live/fromiso)
				[ "$(live_disk_of "${_device}")" = "$1" ] && return 0
				;;
		esac
	done < /proc/mounts
	return 1
}

# Print all disks and partitions that may be written to, but those that are listed.
live_writable_devices ()
{
	for _block in /sys/block/*
	do
		_disk="$(readlink -f "${_block}")"
		case "${_disk##*/}" in
			loop*|ram*|fd*|dm-*|sr*|zram*|nbd*) continue ;;
		esac
		live_disk_may_be_written "${_disk}" || continue
		# A stick that asks for its PIN has no partitions until it got it.
		case " $(echo "${_disk}"/*/partition) " in
			*"/*/"*) blockdev --rereadpt "/dev/${_disk##*/}" 2>/dev/null ;;
		esac
		for _part in "${_disk}" "${_disk}"/"${_disk##*/}"*
		do
			[ -d "${_part}" ] || continue
			case " $1 " in
				*" /dev/${_part##*/} "*) ;;
				*) echo "/dev/${_part##*/}" ;;
			esac
		done
	done
}

# Succeed if one of the devices is labelled for persistence, or encrypted and so may be.
live_persistence_is_there ()
{
	for _device in $1
	do
		case "$(command blkid -o export "${_device}" 2>/dev/null)" in
			*LABEL=persistence*|*TYPE=crypto_LUKS*) return 0 ;;
		esac
	done
	return 1
}

storage_devices ()
{
	_wait=5
	read -r _line < /proc/cmdline
	for _word in ${_line}
	do
		case "${_word}" in
			bootprof.persistence-wait=*) _wait="${_word#*=}" ;;
		esac
	done
	while :
	do
		_found="$(live_writable_devices "$1")"
		live_persistence_is_there "${_found}" && break
		[ "${_wait}" -gt 0 ] 2>/dev/null || break
		_wait=$((_wait - 1))
		sleep 1
	done
	echo "${_found}"
}

# Print label=device for a device whose file system has one of these labels; for an unlocked
# container, also for each such partition in it. The kernel reads no partition table of a container,
# but that of a loop device over it.
probe_for_fs_label ()
{
	_inside="$(live_labelled "$1" "$2")"
	case "$2 ${_inside} $(command blkid -s PTTYPE -o value "$2" 2>/dev/null)" in
		*=*) echo "${_inside}"; return ;;
		/dev/mapper/*"  "?*) ;;
		*) return ;;
	esac
	modprobe -q loop
	_loop="$(losetup --find --show --partscan ${PERSISTENCE_READONLY:+--read-only} "$2")" || return
	for _part in "${_loop}"p*
	do
		[ -b "${_part}" ] && _inside="${_inside} $(live_labelled "$1" "${_part}")"
	done
	case "${_inside}" in
		*=*) echo "${_inside}" ;;
		# Or the container could not be closed.
		*) losetup --detach "${_loop}" ;;
	esac
}

# Print label=device if the file system of a device has one of these labels.
live_labelled ()
{
	_label="$(command blkid -s LABEL -o value "$2" 2>/dev/null)"
	for _wanted in $1
	do
		if [ "${_label}" = "${_wanted}" ]
		then
			echo "${_wanted}=$2"
		fi
	done
}

# Check the file system of a device. Fails if it is damaged beyond repair, or cannot be checked.
live_check_file_system ()
{
	_type="$(command blkid -s TYPE -o value "$1" 2>/dev/null)"
	case "${_type}" in
		ext2|ext3|ext4) ;;
		*)
			echo "live: $1 has the file system ${_type:-of no known type}, and persistence needs ext2, ext3 or ext4; starting without persistence" > /dev/console
			return 1
			;;
	esac
	e2fsck -p "$1" >> /fsck.log 2>&1
	_status=$?
	if [ "${_status}" -ge 4 ]
	then
		e2fsck -f -y "$1" >> /fsck.log 2>&1
		_status=$?
	fi
	if [ "${_status}" -ge 4 ]
	then
		echo "live: $1 is damaged and cannot be repaired (e2fsck: status ${_status}); starting without persistence" > /dev/console
		return 1
	elif [ "${_status}" -ge 1 ]
	then
		echo "live: $1 was damaged and has been repaired" > /dev/console
	fi
	return 0
}

mount_persistence_media ()
{
	# What was found in a folder of a mounted one.
	if [ -d "$1" ]
	then
		echo "$1"
		return 0
	fi
	[ -b "$1" ] || return 1
	live_disk_may_be_written "$(live_disk_of "$1")" || return 1
	_backing="/run/live/persistence/${1##*/}"
	mkdir -p "${_backing}"
	while read -r _device _folder _rest
	do
		[ "${_device}" = "$1" ] || continue
		if [ "${_folder}" != "${_backing}" ]
		then
			mount -o move "${_folder}" "${_backing}" > /dev/null || return 1
		fi
		echo "${_backing}"
		return 0
	done < /proc/mounts
	_options=rw,noatime
	[ -n "${PERSISTENCE_READONLY}" ] && _options=ro,noatime
	if { [ -n "${PERSISTENCE_READONLY}" ] || live_check_file_system "$1"; } &&
		mount -t "$(get_fstype "$1")" -o "${_options}" "$1" "${_backing}" > /dev/null 2>&1
	then
		echo "${_backing}"
		return 0
	fi
	[ -n "$2" ] || log_warning_msg "Failed to mount persistence media $1"
	rmdir "${_backing}"
	return 1
}
