#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# live-boot has a fixed list of file systems without EROFS. These functions take the place of its own,
# and live/filesystem.module on the medium lists the root images, so that live-boot does not look for
# them by their suffix. The module is not in the initrd of every system: those that the archive of this
# script has are loaded.

for _module in /usr/lib/bootprof/modules/*
do
	# A module that is loaded already is no error.
	[ -e "${_module}" ] && insmod "${_module}" 2>/dev/null
done

is_live_path ()
{
	for _image in "$1/${LIVE_MEDIA_PATH}"/*.erofs
	do
		[ -e "${_image}" ] && return 0
	done
	return 1
}

get_backing_device ()
{
	case "$1" in
		*.erofs|*.squashfs|*.ext2|*.ext3|*.ext4|*.jffs2)
			setup_loop "$1" loop "/sys/block/loop*" 0 "$2"
			;;
		*.dir)
			echo directory
			;;
		*)
			panic "Unrecognized live filesystem: $1"
			;;
	esac
}
