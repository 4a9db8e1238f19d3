#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Debian 12 by mkosi 14: a GPT disk with an EFI system partition, systemd-boot, a unified kernel image
# with dracut's initrd, and a squashfs as the root partition.
# Run as root in an empty folder; needs mkosi, debootstrap, squashfs-tools, dosfstools, systemd-container.
set -eu
mkdir -p mkosi.extra
mkosi --distribution debian --release bookworm --format gpt_squashfs --bootable=true \
	--boot-protocols uefi --compress-fs zstd --without-unified-kernel-images=no \
	--package systemd-sysv,udev,dbus,login --password "" --kernel-command-line "systemd.volatile=overlay" \
	--output image.raw --force build
mv image.raw "$1"
