#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# A small system of busybox alone: its own /init mounts a squashfs (gzip) and switches to it;
# isolinux with an included menu.
# Run in an empty folder; needs busybox-static, squashfs-tools, isolinux, syslinux-common, xorriso,
# and a kernel of the archive (downloaded by apt-get download).
set -eu
apt-get download "linux-image-$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-//p')"
dpkg-deb -x linux-image-*.deb kernel
release=$(ls kernel/lib/modules)
mkdir -p initrd/bin initrd/lib initrd/medium initrd/root initrd/dev initrd/proc initrd/sys
cp /bin/busybox initrd/bin/busybox
depmod -b kernel "$release"
# In the order in which they need each other.
modules=
for module in virtio_pci virtio_blk virtio_scsi ahci xhci_pci usb_storage sd_mod sr_mod isofs loop \
	squashfs virtio_console; do
	for path in $(modprobe -d kernel -S "$release" --show-depends "$module" | sed 's/^insmod //'); do
		cp "$path" initrd/lib/
		modules="$modules $(basename "$path")"
	done
done
cat >initrd/init <<END
#!/bin/busybox sh
/bin/busybox mkdir -p /usr/bin /sbin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for module in $modules; do insmod /lib/\$module 2>/dev/null; done
for second in 1 2 3 4 5 6 7 8 9; do
	for device in /dev/sr0 /dev/vda /dev/sda; do
		[ -b \$device ] && mount -t iso9660 -o ro \$device /medium 2>/dev/null && break 2
	done
	sleep 1
done
[ -e /medium/root.sqfs ] || exec sh
mount -t squashfs -o ro,loop /medium/root.sqfs /root
exec switch_root /root /sbin/init
END
chmod +x initrd/init
mkdir -p root/bin root/sbin root/etc root/usr/share root/proc root/sys root/dev root/tmp
cp /bin/busybox root/bin/busybox
for applet in sh mount cat sleep md5sum find ls getty login; do ln -s busybox root/bin/$applet; done
ln -s ../bin/busybox root/sbin/init
# Content to read: a part of it, and in another order than on the image.
cp -r /usr/share/misc /usr/share/perl root/usr/share/ 2>/dev/null || true
printf '::sysinit:/etc/rc\n::respawn:/bin/sh\n' >root/etc/inittab
cat >root/etc/rc <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
find /usr/share -name '*m*.p[lm]' | while read -r file; do cat "$file"; done >/dev/null
echo "busybox login:"
END
chmod +x root/etc/rc
mkdir -p iso/isolinux
cp "kernel/boot/vmlinuz-$release" iso/vmlinuz
(cd initrd && find . | cpio -o -H newc -R 0:0) | gzip -9 >iso/initrd.gz
mksquashfs root iso/root.sqfs -comp gzip -no-progress -noappend -all-root
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 iso/isolinux/
printf 'default live\nprompt 0\ntimeout 30\ninclude entries.cfg\n' >iso/isolinux/isolinux.cfg
printf 'label live\n menu label ^Live\n kernel /vmlinuz\n append initrd=/initrd.gz quiet\n' \
	>iso/isolinux/entries.cfg
xorriso -as mkisofs -r -V BUSYBOX -o "$1" -b isolinux/isolinux.bin -c isolinux/boot.cat \
	-no-emul-boot -boot-load-size 4 -boot-info-table iso
