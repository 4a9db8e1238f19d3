# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# What starts an installed system: GRUB's images of the medium, and its menu.
# Formats: grub-core/boot/i386/pc/{boot,diskboot,startup_raw}.S of GRUB 2.06, as in builder/grub.py.

# is_zero FILE SECTOR SECTORS
is_zero() {
    [ -z "$(dd if="$1" bs=512 skip="$2" count="$3" status=none | tr -d '\0' | head -c 1 | od -An -tx1)" ]
}

# The sector of the disk that GRUB's core image goes to; nothing if there is no place for it.
core_sector() {
    if [ "$table" = gpt ]; then
        echo $(($(field bios 3) / 512))
        return
    fi
    # In the gap behind the master boot record, as far back as possible: in front is another GRUB.
    first=$(sed -n 's/.*start= *\([0-9]*\), size= *[1-9].*/\1/p' "$scratch/table" | sort -n | head -n 1)
    [ "${first:-2048}" -le 2048 ] || first=2048
    from=$((${first:-2048} - core_sectors))
    while [ "$from" -gt 1 ]; do
        if ! is_zero "$disk" "$from" "$core_sectors"; then
            from=$((from - core_sectors))
        else
            echo "$from"
            return
        fi
    done
}

# What the boot sector of the disk starts now, for the menu; nothing if it starts nothing.
save_other_boot_sector() {
    rm -f "$other_sector"
    [ "$answer_place" != whole ] || return 0
    dd if="$disk" of="$scratch/sector" bs=512 count=1 status=none
    head -c 440 "$scratch/sector" >"$scratch/code"
    is_zero "$scratch/code" 0 1 || cp "$scratch/sector" "$other_sector"
}

write_boot_code() {
    [ "$sector" = 512 ] || return 0
    cp "$boot_files/core.img" "$scratch/core.img"
    cp "$boot_files/boot.img" "$scratch/boot.img"
    core_sectors=$((($(wc -c <"$scratch/core.img") + 511) / 512))
    at=$(core_sector)
    if [ -z "$at" ]; then
        translate 'There is no room for GRUB in front of the first partition: a BIOS will not start the system.'
        echo
        return
    fi
    # The list of its own remaining sectors, and the partition with the menu.
    { little_endian $((at + 1)) 8; little_endian $((core_sectors - 1)) 2; little_endian 2080 2; } |
        patch "$scratch/core.img" 500
    boot_number=$(field boot 2)
    little_endian $((${boot_number:-$(field root 2)} - 1)) 1 | patch "$scratch/core.img" 538
    little_endian "$at" 8 | patch "$scratch/boot.img" 92
    { dd if="$scratch/core.img" of="$disk" bs=512 seek="$at" conv=notrunc,fsync,sync status=none &&
        head -c 440 "$scratch/boot.img" |
        dd of="$disk" bs=440 count=1 iflag=fullblock conv=notrunc,fsync status=none; } || fail "$(translate '%s: cannot write the boot code' "$disk")"
}

# The partition that GRUB reads: that of /boot, if there is one.
boot_uuid() {
    if has boot; then blkid -s UUID -o value "$(node_of boot)"; else blkid -s UUID -o value "$root_holder"; fi
}

write_boot_menu() {
    mkdir -p "$target/boot/grub"
    # The same paths whether /boot is a partition or a folder.
    ! has boot || ln -sfn . "$target/boot/boot"
    options="root=UUID=$root_uuid ro$(kept_options)${answer_boot_options:+ $answer_boot_options}"
    {
        echo "# Written by bootprof-live install; the links follow kernels that dpkg installs."
        echo 'serial --unit=0 --speed=115200'
        echo 'terminal_input console serial'
        echo 'terminal_output console serial'
        if [ "$answer_place" = whole ]; then echo 'set timeout=2'; else echo 'set timeout=5'; fi
        menu_entry "$system_title" vmlinuz initrd.img "$options"
        echo 'if [ -e /boot/vmlinuz.old -a -e /boot/initrd.img.old ]; then'
        menu_entry "$system_title, previous kernel" vmlinuz.old initrd.img.old "$options"
        echo 'fi'
        menu_entry "$system_title, repair" vmlinuz initrd.img "$options single"
        other_entries
    } >"$target/boot/grub/grub.cfg"
}

# What the kernel of the live system was told about consoles and graphics.
kept_options() {
    tr ' ' '\n' <"$root/proc/cmdline" | while read -r option; do
        case $option in
        console=* | quiet | splash | nomodeset | video=* | net.ifnames=*)
            ! matches "$option" '[A-Za-z0-9._,:/=+@%-]+' || printf ' %s' "$option" ;;
        esac
    done
}

menu_entry() {
    printf "menuentry '%s' {\n    linux /boot/%s %s\n    initrd /boot/%s\n}\n" "$1" "$2" "$4" "$3"
}

# Other systems of this disk, by what a BIOS or UEFI started before.
other_entries() {
    [ "$answer_place" != whole ] || return 0
    cat <<'EOF'
if [ "$grub_platform" = pc -a -e /boot/grub/other.img ]; then
    menuentry 'Other system on this disk' {
        set image=($root)/boot/grub/other.img
        regexp --set=1:disk '^([^,]*)' "$root"
        set root=$disk
        chainloader $image
    }
fi
EOF
    [ -n "$esp_node" ] && ! has esp || return 0
    mount_esp
    for program in EFI/Microsoft/Boot/bootmgfw.efi EFI/*/shimx64.efi EFI/*/grubx64.efi EFI/BOOT/BOOTX64.EFI; do
        for file in "$scratch/esp/"$program; do
            [ -f "$file" ] || continue
            name=${file#"$scratch/esp/"}
            matches "$name" '[A-Za-z0-9._/-]+' || continue
            cat <<EOF
if [ "\$grub_platform" = efi ]; then
    menuentry 'Other system: $name' {
        search --no-floppy --fs-uuid --set=root -- $(blkid -s UUID -o value "$esp_node")
        chainloader /$name
    }
fi
EOF
        done
    done
    umount "$scratch/esp"
}

mount_esp() {
    mkdir -p "$scratch/esp"
    mount -t vfat "$esp_node" "$scratch/esp" 2>"$scratch/log" || fail "$(translate '%s: cannot be mounted' "$esp_node")"
}

# UEFI starts EFI/BOOT/BOOT*.EFI of a disk that it has no entry for: that stays another system's.
write_efi_programs() {
    efi_folder=
    [ -n "$esp_node" ] || return 0
    mount_esp
    efi_folder=EFI/linux-$(printf %.8s "$(boot_uuid)")
    if [ ! -e "$scratch/esp/EFI/BOOT/BOOTX64.EFI" ]; then put_efi_programs EFI/BOOT; fi
    has esp || put_efi_programs "$efi_folder"
    umount "$scratch/esp" || fail "$(translate '%s: cannot be unmounted' "$esp_node")"
}

put_efi_programs() {
    mkdir -p "$scratch/esp/$1"
    cp "$boot_files/"BOOT*.EFI "$scratch/esp/$1/" || fail "$(translate '%s: no room for GRUB' "$esp_node")" "$(translate 'Free 2 MB there.')"
    cat >"$scratch/esp/$1/grub.cfg" <<EOF
search --no-floppy --fs-uuid --set=root -- $(boot_uuid)
set prefix=(\$root)/boot/grub
configfile (\$root)/boot/grub/grub.cfg
EOF
}

# The entry of the firmware, in front of the others, where another system has the usual place.
add_firmware_entry() {
    [ -n "$efi_folder" ] && ! has esp || return 0
    if [ ! -d /sys/firmware/efi ]; then
        translate 'UEFI has no entry for the system, since this one was not started by UEFI.'
        echo
        return
    fi
    mountpoint -q /sys/firmware/efi/efivars ||
        mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null || :
    if ! command -v efibootmgr >/dev/null || ! efibootmgr --quiet --create --disk "$disk" \
        --part "$(part_number "$esp_node")" --label "$answer_hostname" \
        --loader "\\$(printf %s "$efi_folder" | tr / '\\')\\BOOTX64.EFI" >"$scratch/log" 2>&1; then
        translate 'UEFI has no entry for the system: start %s from its own menu.' "$efi_folder/BOOTX64.EFI"
        echo
    fi
}
