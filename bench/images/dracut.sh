#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Debian 12 with the initrd and the layout of Fedora's live images: dracut's dmsquash-live,
# LiveOS/squashfs.img, GRUB by grub-mkrescue.
# Run as root in an empty folder; needs mmdebstrap, squashfs-tools, grub-common, xorriso, mtools.
# shellcheck disable=SC2016 # expanded by the shell of each hook
set -eu
mmdebstrap --variant=minbase \
	--include=linux-image-amd64,dracut,dracut-live,systemd-sysv,udev,dbus,login,util-linux,kmod \
	--customize-hook='chroot "$1" passwd -d root' \
	--customize-hook='chroot "$1" sh -c "dracut --force --no-hostonly --add dmsquash-live --zstd /boot/initrd $(ls "$1/lib/modules")"' \
	bookworm root
mkdir -p iso/LiveOS iso/boot/grub
cp root/boot/vmlinuz-* iso/boot/vmlinuz
cp root/boot/initrd iso/boot/initrd.img
rm -rf root/boot/initrd* root/var/cache/apt root/var/lib/apt/lists
mksquashfs root iso/LiveOS/squashfs.img -comp zstd -no-progress -noappend
cat >iso/boot/grub/grub.cfg <<'END'
set default="0"
set timeout=3
insmod all_video
menuentry 'Start the live system' --class gnu-linux {
	linux /boot/vmlinuz root=live:CDLABEL=DRACUTLIVE rd.live.image rd.live.overlay.overlayfs=1 quiet
	initrd /boot/initrd.img
}
submenu 'Troubleshooting' {
	menuentry 'Basic graphics' {
		linux /boot/vmlinuz root=live:CDLABEL=DRACUTLIVE rd.live.image rd.live.overlay.overlayfs=1 nomodeset
		initrd /boot/initrd.img
	}
}
END
grub-mkrescue -o "$1" iso -- -volid DRACUTLIVE
