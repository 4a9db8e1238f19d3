#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# While live-boot looks for its medium, it mounts every file system of a machine. Even with the option
# ro, the kernel replays a journal, which writes to the disk of a system that crashed, or that is
# suspended to disk. This function lets it leave the journal alone.
# Sources: Linux' Documentation/filesystems/ext4/, xfs.rst (norecovery), btrfs.rst (rescue=nologreplay)
# and f2fs.rst (norecovery).

mount ()
{
	# A disk that is named by the boot option fromiso, for which live-boot gives no options.
	case "$1 $3 $4" in
		"-t /dev/"*" /run/live/fromiso") set -- "$1" "$2" -o ro "$3" "$4" ;;
	esac
	case "$1 $3 $4 $5" in
		"-t -o ro /dev/"*|"-t -o ro,"*" /dev/"*)
			case "$2" in
				ext3|ext4) set -- "$1" "$2" "$3" "$4,noload" "$5" "$6" ;;
				xfs|f2fs) set -- "$1" "$2" "$3" "$4,norecovery" "$5" "$6" ;;
				btrfs) set -- "$1" "$2" "$3" "$4,rescue=nologreplay" "$5" "$6" ;;
				# It always replays.
				reiserfs) return 1 ;;
			esac
			;;
	esac
	command mount "$@"
}
