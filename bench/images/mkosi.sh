#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Debian 12 by mkosi: a GPT disk with the root as a squashfs partition, dracut's initrd, systemd-boot
# and a unified kernel image on the EFI system partition.
# Run as root in an empty folder; needs mkosi.
set -eu
mkosi --distribution=debian --release=bookworm --format=gpt_squashfs --bootable=yes \
	--boot-protocols=uefi --compress-fs=zstd --hostname=mkosi --password= --autologin=no \
	--package=openssh-server --kernel-command-line="rw quiet" --output=image.raw build
mv image.raw "$1"
