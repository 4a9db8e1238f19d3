#!/bin/sh
# live-boot has no hook between the mount of the medium and that of the squashfs on it. In between
# it runs losetup for each squashfs: the moment to start reading ahead.

losetup ()
{
	for _squashfs in "$@"
	do
		:
	done
	case "${_squashfs}" in
		*.squashfs)
			/usr/lib/bootprof/start-readahead "${_squashfs}" </dev/null >/dev/null 2>&1
			;;
	esac
	command losetup "$@"
}
