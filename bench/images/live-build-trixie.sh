#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Debian 13 by live-build: live-boot, zstd, isolinux and GRUB.
# Run as root in an empty folder; needs live-build. Writes the image to the path in $1.
set -eu
lb config --distribution trixie --architectures amd64 --archive-areas main --debian-installer none \
	--apt-recommends false --binary-images iso-hybrid --memtest none --firmware-chroot false \
	--updates true --security false --cache false --apt-indices false --zsync false --chroot-squashfs-compression-type zstd
printf '%s\n' live-boot live-config live-config-systemd systemd-sysv openssh-server >config/package-lists/image.list.chroot
lb build
mv ./*.iso "$1"
