#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# dmsquash-live mounts the medium below /run/initramfs/live before this hook. /run keeps its path.

# A file of this name has the path of the squashfs on the medium, where it is known.
_path=
[ -e /usr/lib/bootprof/squashfs.path ] && _path=$(cat /usr/lib/bootprof/squashfs.path)

for _squashfs in "/run/initramfs/live${_path:-/none}" /run/initramfs/live/LiveOS/*.img /run/initramfs/live/LiveOS/*.squashfs
do
	if [ -f "${_squashfs}" ]
	then
		/usr/lib/bootprof/start-readahead "${_squashfs}"
		break
	fi
done
