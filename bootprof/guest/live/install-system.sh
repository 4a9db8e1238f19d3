# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Copies the root to its new place, and makes a system of its own of it.

# What a system that is no live system does not have.
live_packages='live-boot* live-config* live-tools live-task-*'
live_files='etc/live etc/bootprof-live usr/sbin/bootprof-live usr/lib/bootprof-live usr/sbin/bootprof
usr/lib/systemd/system-generators/bootprof-live usr/share/locale/*/LC_MESSAGES/bootprof-live.mo
usr/share/man/man8/bootprof-live.8 usr/lib/udev/rules.d/60-live-medium.rules'
# Groups of the first user, as far as there are such.
user_groups='audio bluetooth cdrom dip floppy lpadmin netdev plugdev scanner sudo users video'

# The paths in the order of their content on the medium. Each window of an image is read from begin
# to end before its paths are printed, and the files are then copied from the page cache: the tails
# of files and the tables of the image would be many seeks else. (builder/media/installation.py)
paths_in_order() {
    gzip -dc "$boot_files/order.gz" | awk -F '\t' -v folder="$(dirname "$kernel_file")" '
        $1 != image || ($2 >= 0 && $2 != window) {
            image = $1
            window = $2
            fflush()
            if (window >= 0) {
                quoted = "\047" folder "/" image "\047"
                system("dd if=" quoted " of=/dev/null bs=1048576 count=16 skip=" window * 16 " 2>/dev/null")
            }
        }
        { print $3 }'
}

copy_system() {
    began=$(seconds)
    copying=$(translate Copying)
    if [ -s "$boot_files/order.gz" ]; then
        set -- --no-recursion --files-from=-
        produce=paths_in_order
    else
        set -- --one-file-system .
        produce=:
    fi
    # Records of 1 MiB, and a message for every eighth.
    {
        $produce | tar -C "$source" --create --file=- --blocking-factor=2048 --numeric-owner --acls --xattrs \
            --xattrs-include='*' "$@" 2>"$scratch/read" || echo $? >"$scratch/failed"
    } | {
        tar -C "$target" --extract --file=- --blocking-factor=2048 --numeric-owner --same-permissions \
            --acls --xattrs --xattrs-include='*' --delay-directory-restore \
            --checkpoint=8 --checkpoint-action=echo=%u 2>&1 || echo failed
    } | while IFS= read -r line; do
        number=${line##*[!0-9]}
        case $line in
        failed) echo 1 >"$scratch/failed" ;;
        "tar: "*[!0-9]*) printf '%s\n' "$line" >>"$scratch/written" ;;
        "tar: "*) progress "$copying" "$((number * mib < system_bytes ? number * mib : system_bytes))" "$system_bytes" ;;
        *) printf '%s\n' "$line" >>"$scratch/written" ;;
        esac
    done
    [ -e "$scratch/failed" ] || progress "$copying" "$system_bytes" "$system_bytes"
    [ -n "$gauge" ] || printf '\n' >&2
    [ ! -e "$scratch/failed" ] || fail "$(translate 'copying failed: %s' "$(cat "$scratch/read" "$scratch/written" 2>/dev/null |
        head -n 1 | printable 160)")" "$(translate 'The installation is incomplete. Check the medium and the disk.')"
}

inside() { chroot "$target" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
    DEBIAN_FRONTEND=noninteractive HOME=/root sh -c "$image_environment"'exec "$@"' sh "$@"; }

configure_system() {
    image_environment=
    [ ! -f "$environment_file" ] || image_environment="$(cat "$environment_file");"
    for folder in dev proc sys run; do mkdir -p "$target/$folder"; done
    { mount --bind /dev "$target/dev" && mount -t proc proc "$target/proc" &&
        mount -t sysfs sysfs "$target/sys" && mount --bind /run "$target/run"; } || fail "$(translate '%s: cannot mount /dev, /proc and /sys' "$target")"
    remove_live_parts
    cp "$kernel_file" "$target/boot/vmlinuz-$release" || fail "$(translate 'the kernel cannot be copied')"
    write_tables
    printf '%s\n' "$answer_hostname" >"$target/etc/hostname"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n\n::1\tlocalhost ip6-localhost ip6-loopback\n' \
        "$answer_hostname" >"$target/etc/hosts"
    tr -d - </proc/sys/kernel/random/uuid >"$target/etc/machine-id"
    chmod 444 "$target/etc/machine-id"
    chmod 644 "$target/etc/hostname" "$target/etc/hosts"
    rm -f "$target/etc/ssh/ssh_host_"* "$target/var/lib/dbus/machine-id"
    ! [ -x "$target/usr/bin/ssh-keygen" ] || inside ssh-keygen -A >/dev/null
    configure_language
    configure_users
    run_hooks
}

# Packages by dpkg, so that the system does not know them any more.
remove_live_parts() {
    # shellcheck disable=SC2016,SC2086 # fields of dpkg-query, and patterns
    live=$(inside dpkg-query -W -f '${db:Status-Status} ${Package}\n' $live_packages 2>/dev/null |
        sed -n 's/^installed //p; s/^config-files //p')
    # Services of the target must not start here.
    printf '#!/bin/sh\nexit 101\n' >"$target/usr/sbin/policy-rc.d"
    chmod 755 "$target/usr/sbin/policy-rc.d"
    if [ -n "$live" ]; then
        # shellcheck disable=SC2086 # names
        inside dpkg --purge $live >"$scratch/log" 2>&1 ||
            fail "$(translate 'the packages of the live system cannot be removed: %s' "$(tail -n 1 "$scratch/log" | printable 160)")"
    fi
    rm -f "$target/usr/sbin/policy-rc.d"
    # shellcheck disable=SC2086 # patterns
    (cd "$target" && rm -rf $live_files)
    # Logins without a password were for the live system.
    for file in "$target"/etc/lightdm/lightdm.conf.d/*.conf "$target/etc/gdm3/daemon.conf"; do
        [ ! -f "$file" ] || sed -i '/^ *autologin-/d; /^ *AutomaticLogin/d; /^ *TimedLogin/d' "$file"
    done
    for file in "$target"/etc/sddm.conf.d/*.conf; do
        [ ! -f "$file" ] || ! grep -q '^\[Autologin\]' "$file" || rm "$file"
    done
}

write_tables() {
    root_uuid=$(blkid -s UUID -o value "$root_holder")
    {
        printf 'UUID=%s / ext4 errors=remount-ro 0 1\n' "$root_uuid"
        ! has boot || printf 'UUID=%s /boot ext4 defaults 0 2\n' "$(blkid -s UUID -o value "$(node_of boot)")"
        [ -z "$esp_node" ] || printf 'UUID=%s /boot/efi vfat umask=0077,nofail 0 2\n' \
            "$(blkid -s UUID -o value "$esp_node")"
    } >"$target/etc/fstab"
    chmod 644 "$target/etc/fstab"
    [ -z "$esp_node" ] || mkdir -p "$target/boot/efi"
    if [ "$answer_encrypt" = yes ]; then
        printf '%s UUID=%s none luks,initramfs\n' "$crypt_name" \
            "$(blkid -s UUID -o value "$root_node")" >"$target/etc/crypttab"
    fi
}

configure_language() {
    for file in default/locale locale.conf default/keyboard timezone; do
        [ ! -f "$root/etc/$file" ] || cp "$root/etc/$file" "$target/etc/$(readlink -m "/$file")" 2>/dev/null || :
    done
    [ ! -L "$root/etc/localtime" ] || cp -P "$root/etc/localtime" "$target/etc/localtime"
    if [ -n "$answer_language" ]; then
        rm -f "$target/etc/default/locale"
        printf 'LANG=%s\n' "$answer_language" >"$target/etc/default/locale"
        chmod 644 "$target/etc/default/locale"
    fi
    if [ -n "$answer_keyboard" ]; then
        printf 'XKBMODEL="pc105"\nXKBLAYOUT="%s"\nXKBVARIANT="%s"\n' "${answer_keyboard%%:*}" \
            "$(printf '%s:' "$answer_keyboard" | cut -d : -f 2)" >"$target/etc/default/keyboard"
        chmod 644 "$target/etc/default/keyboard"
    fi
    if [ -n "$answer_timezone" ]; then
        ln -sfn "/usr/share/zoneinfo/$answer_timezone" "$target/etc/localtime"
        printf '%s\n' "$answer_timezone" >"$target/etc/timezone"
        chmod 644 "$target/etc/timezone"
    fi
}

# set_password USER PASSWORD HASH
set_password() {
    if [ -n "$3" ]; then
        printf '%s:%s\n' "$1" "$3" | inside chpasswd -e
    else
        printf '%s:%s\n' "$1" "$2" | inside chpasswd
    fi || fail "$(translate 'the password of %s cannot be set' "$1")"
}

configure_users() {
    if [ -n "$answer_user" ]; then
        if ! inside getent passwd "$answer_user" >/dev/null; then
            inside useradd --create-home --shell /bin/bash --comment "$answer_full_name" "$answer_user" \
                >"$scratch/log" 2>&1 || fail "$(translate 'the user cannot be made: %s' "$(head -n 1 "$scratch/log" | printable 120)")"
        fi
        for group in $user_groups; do
            ! inside getent group "$group" >/dev/null || inside usermod -aG "$group" "$answer_user" || :
        done
        set_password "$answer_user" "$answer_password" "$answer_password_hash"
    fi
    if [ -n "$answer_root_password$answer_root_password_hash" ]; then
        set_password root "$answer_root_password" "$answer_root_password_hash"
    elif [ -n "$answer_user" ] && [ -x "$target/usr/bin/sudo" ]; then
        inside usermod --lock root
    elif [ -n "$answer_user" ]; then
        # Nobody could administer the system otherwise, and that of the image is known to others.
        set_password root "$answer_password" "$answer_password_hash"
    fi
}

run_hooks() {
    for hook in "$hooks_folder/"*; do
        [ -x "$hook" ] || continue
        # Nothing can be started from /run, which is mounted noexec.
        { cp "$hook" "$target/bootprof-hook" && inside /bootprof-hook; } || fail "$(translate '%s: failed' "$(basename "$hook")")"
        rm -f "$target/bootprof-hook"
    done
}

make_initrd() {
    # The links of the boot menu, which linux-update-symlinks keeps up to date.
    printf 'do_symlinks = yes\nlink_in_boot = yes\n' >"$target/etc/kernel-img.conf"
    chmod 644 "$target/etc/kernel-img.conf"
    rm -f "$target/vmlinuz" "$target/initrd.img" "$target/vmlinuz.old" "$target/initrd.img.old"
    [ ! -f "$target/etc/default/keyboard" ] || echo 'KEYMAP=y' >"$target/etc/initramfs-tools/conf.d/keymap"
    { inside update-initramfs -c -k "$release" >"$scratch/log" 2>&1 &&
        [ -s "$target/boot/initrd.img-$release" ]; } || fail "$(translate 'the initial ramdisk cannot be made: %s' "$(tail -n 1 "$scratch/log" | printable 160)")"
    ln -sfn "vmlinuz-$release" "$target/boot/vmlinuz"
    ln -sfn "initrd.img-$release" "$target/boot/initrd.img"
    system_title=$(sed -n 's/^PRETTY_NAME=//p' "$target/etc/os-release" | tr -cd 'A-Za-z0-9 ./()-' |
        cut -c 1-60)
}
