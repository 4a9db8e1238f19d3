#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Debian sid by live-build: live-boot, gzip.
# Run as root in an empty folder; needs live-build. Writes the image to the path in $1.
set -eu
lb config --distribution sid --architectures amd64 --archive-areas main --debian-installer none \
	--apt-recommends false --binary-images iso-hybrid --memtest none --firmware-chroot false \
	--updates false --security false --apt-options "--yes -o Acquire::Check-Valid-Until=false" --cache false --apt-indices false --zsync false --chroot-squashfs-compression-type gzip
printf '%s\n' live-boot live-config live-config-systemd systemd-sysv >config/package-lists/image.list.chroot
lb build
mv ./*.iso "$1"
