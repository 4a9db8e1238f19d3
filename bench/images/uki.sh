#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# A GPT disk: systemd-boot and a unified kernel image with dracut's initrd on the EFI system
# partition, the root as a squashfs partition under a volatile overlay.
# Run as root in an empty folder; needs mmdebstrap, squashfs-tools, dosfstools, mtools, fdisk.
# shellcheck disable=SC2016 # expanded by the shell of each hook
set -eu
options="root=PARTLABEL=root rootfstype=squashfs ro systemd.volatile=overlay quiet"
mmdebstrap --variant=minbase \
	--include=linux-image-amd64,dracut,systemd-sysv,systemd-boot-efi,udev,dbus,login,binutils \
	--customize-hook='chroot "$1" passwd -d root' \
	--customize-hook='chroot "$1" dracut --force --no-hostonly --uefi --zstd --add-drivers "squashfs overlay virtio_blk virtio_scsi sr_mod" --kernel-cmdline "'"$options"'" --kver "$(ls "$1/lib/modules")" /boot/live.efi' \
	bookworm root
cp root/boot/live.efi live.efi
cp root/usr/lib/systemd/boot/efi/systemd-bootx64.efi boot.efi
rm -rf root/boot/live.efi root/boot/initrd* root/var/cache/apt root/var/lib/apt/lists
mksquashfs root root.sqfs -comp zstd -no-progress -noappend
mkfs.vfat -C esp 131072 >/dev/null
mmd -i esp ::/EFI ::/EFI/BOOT ::/EFI/Linux
mcopy -i esp boot.efi ::/EFI/BOOT/BOOTX64.EFI
mcopy -i esp live.efi ::/EFI/Linux/live.efi
root_sectors=$(($(stat -c %s root.sqfs) / 512 + 8))
truncate -s "$((2 * 1048576 + 134217728 + root_sectors * 512 + 1048576))" image.raw
printf 'label: gpt\nstart=2048, size=262144, type=U\nsize=%s, type=L, name=root\n' \
	"$root_sectors" | sfdisk -q image.raw
dd if=esp of=image.raw bs=1M seek=1 conv=notrunc status=none
dd if=root.sqfs of=image.raw bs=1M seek=129 conv=notrunc status=none
mv image.raw "$1"
