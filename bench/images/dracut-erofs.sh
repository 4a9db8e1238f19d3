#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Debian 13 in the form of Fedora's live images: dracut's dmsquash-live, LiveOS/squashfs.img, which is
# an EROFS (LZMA, clusters of 1 MiB, each file a fragment), GRUB by grub-mkrescue.
# EROFS_OPTIONS in the environment packs it otherwise.
# Run as root in an empty folder; needs mmdebstrap, grub-common, xorriso, mtools.
# shellcheck disable=SC2016 # expanded by the shell of each hook
set -eu
mmdebstrap --variant=minbase \
	--include=linux-image-amd64,dracut,dracut-live,systemd-sysv,udev,dbus,login,util-linux,kmod,erofs-utils \
	--customize-hook='chroot "$1" passwd -d root' \
	--customize-hook='chroot "$1" sh -c "dracut --force --no-hostonly --add dmsquash-live --add-drivers \"erofs\" --gzip /boot/initrd $(ls "$1/lib/modules")"' \
	trixie root
mkdir -p iso/LiveOS iso/boot/grub
cp root/boot/vmlinuz-* iso/boot/vmlinuz
cp root/boot/initrd iso/boot/initrd.img
rm -rf root/boot/initrd* root/var/cache/apt root/var/lib/apt/lists
# The mkfs.erofs of the image, which is newer than that of Debian 12.
# shellcheck disable=SC2086 # options are separated by spaces
root/lib64/ld-linux-x86-64.so.2 --library-path root/usr/lib/x86_64-linux-gnu root/usr/bin/mkfs.erofs \
	${EROFS_OPTIONS:--zlzma,level=6 -C1048576 -Eall-fragments} iso/LiveOS/squashfs.img root/
cat >iso/boot/grub/grub.cfg <<'END'
set default="0"
set timeout=3
insmod all_video
menuentry 'Start the live system' --class gnu-linux {
	linux /boot/vmlinuz root=live:CDLABEL=DRACUTEROFS rd.live.image rd.live.overlay.overlayfs=1 quiet
	initrd /boot/initrd.img
}
END
grub-mkrescue -o "$1" iso -- -volid DRACUTEROFS
