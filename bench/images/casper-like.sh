#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Debian 13 with the layout of Ubuntu's live images: two squashfs layers under /casper, `boot=casper`,
# checksums in md5sum.txt. Debian has no package casper: a script of 30 lines for initramfs-tools
# takes its place.
# Run as root in an empty folder; needs mmdebstrap, squashfs-tools, grub-common, xorriso, mtools.
# shellcheck disable=SC2016 # expanded by the shell of each hook
set -eu
cat >casper <<'END'
# Boot script of initramfs-tools: boot=casper sources it and calls mountroot.
mount_top() { :; }
mount_premount() { :; }
mount_bottom() { :; }
mountroot()
{
	for module in isofs loop squashfs overlay sr_mod virtio_blk nvme ahci usb_storage; do
		modprobe -q "$module"
	done
	mkdir -p /cdrom /cow /layers
	for second in $(seq 60); do
		for device in /dev/sr* /dev/vd? /dev/sd? /dev/nvme*n1; do
			[ -b "$device" ] || continue
			mount -t iso9660 -o ro "$device" /cdrom 2>/dev/null || continue
			[ -e /cdrom/casper/minimal.squashfs ] && break 2
			umount /cdrom
		done
		sleep 1
	done
	lower=
	for layer in minimal minimal.standard; do
		mkdir -p "/layers/$layer"
		mount -t squashfs -o ro,loop "/cdrom/casper/$layer.squashfs" "/layers/$layer"
		lower="/layers/$layer${lower:+:$lower}"
	done
	mount -t tmpfs tmpfs /cow
	mkdir -p /cow/upper /cow/work
	mount -t overlay -o "lowerdir=$lower,upperdir=/cow/upper,workdir=/cow/work" overlay "$rootmnt"
	mkdir -p "$rootmnt/cdrom"
	mount --move /cdrom "$rootmnt/cdrom"
}
END
mmdebstrap --variant=minbase \
	--include=linux-image-amd64,initramfs-tools,busybox,systemd-sysv,udev,dbus,login,kmod,python3-minimal \
	--customize-hook='chroot "$1" passwd -d root' \
	--customize-hook='cp casper "$1/usr/share/initramfs-tools/scripts/casper"' \
	--customize-hook='printf "isofs\nloop\nsquashfs\noverlay\n" >>"$1/etc/initramfs-tools/modules"' \
	--customize-hook='chroot "$1" update-initramfs -u' \
	trixie root
mkdir -p iso/casper iso/boot/grub standard/usr/lib
cp root/boot/vmlinuz-* iso/casper/vmlinuz
cp root/boot/initrd.img-* iso/casper/initrd
rm -rf root/boot/initrd* root/initrd* root/var/cache/apt root/var/lib/apt/lists
mv root/usr/lib/python3* standard/usr/lib/
mksquashfs root iso/casper/minimal.squashfs -comp zstd -no-progress -noappend
mksquashfs standard iso/casper/minimal.standard.squashfs -comp zstd -no-progress -noappend
du -sx --block-size=1 root | cut -f1 >iso/casper/minimal.size
cat >iso/boot/grub/grub.cfg <<'END'
set timeout=3
loadfont unicode
menuentry "Try or Install" {
	set gfxpayload=keep
	linux	/casper/vmlinuz boot=casper layerfs-path=minimal.standard.squashfs quiet --- 
	initrd	/casper/initrd
}
END
(cd iso && find . -type f -print0 | sort -z | xargs -0 md5sum >../md5sum.txt && mv ../md5sum.txt .)
grub-mkrescue -o "$1" iso -- -volid CASPERLIKE
