#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# dmsquash-live mounts the medium below /run/initramfs/live before this hook. /run keeps its path.

for _squashfs in /run/initramfs/live/LiveOS/*.img /run/initramfs/live/LiveOS/*.squashfs
do
	if [ -e "${_squashfs}" ]
	then
		/usr/lib/bootprof/start-readahead "${_squashfs}"
		break
	fi
done
