#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# live-boot has no hook between mounting the medium and mounting the root image on it. In between, it
# runs losetup for each image; this function replaces losetup and starts the readahead.

losetup ()
{
	for _squashfs in "$@"
	do
		:
	done
	case "${_squashfs}" in
		*.squashfs|*.erofs)
			/usr/lib/bootprof/start-readahead "${_squashfs}" </dev/null >/dev/null 2>&1
			;;
	esac
	command losetup "$@"
}
