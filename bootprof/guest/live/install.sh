# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Installs the running live system to a disk: what is asked, what is checked, and the order of the
# steps. Until the last step, which writes the partition table and the boot code, the disk starts
# what it has started before, or nothing if all of it is used; so an installation that was
# interrupted is simply started again.

# On the medium: boot images, the table of partitions, and the order of the files.
boot_files=${BOOTPROF_LIVE_INSTALL:-/run/live/medium/install}
kernel_file=${BOOTPROF_LIVE_KERNEL:-/run/live/medium/live/vmlinuz}
# Variables of the image's configuration, for hooks and the scripts of packages.
environment_file=$parts/environment
# Defaults of the image's author for what is asked, and programs that finish an installation.
default_answers=$root/etc/bootprof-live/answers
hooks_folder=$root/etc/bootprof-live/install.d
crypt_name=cryptroot

install_usage() {
    cat <<'USAGE'
usage: bootprof-live install [--answers FILE] [--dry-run] [--yes] [DEVICE]

Installs the running live system to DEVICE, or asks for a disk. What FILE does not answer is asked.

  --answers FILE  answers, as lines of the form "key = value"; docs/live-install.md lists the keys
  --dry-run       check and say what would be done; write nothing
  --yes           do not ask; what is not answered gets its default
USAGE
}

install_main() {
    answers_file='' yes='' dry=''
    clear_answers
    while [ $# -gt 0 ]; do
        case $1 in
        --answers) [ $# -gt 1 ] || refuse "--answers: name a file"; answers_file=$2; shift ;;
        --yes) yes=1 ;;
        --dry-run) dry=1 ;;
        -h | --help) install_usage; return ;;
        -*) refuse "$1: no such option" "bootprof-live install --help lists them" ;;
        *) [ -z "$answer_disk" ] || refuse "$1: only one disk can be named"; answer_disk=$1 ;;
        esac
        shift
    done
    named_disk=$answer_disk
    [ ! -f "$default_answers" ] || read_answers "$default_answers"
    [ -z "$answers_file" ] || read_answers "$answers_file"
    [ -z "$named_disk" ] || answer_disk=$named_disk
    check_live_system
    if [ -z "$yes" ] && [ -z "$answers_file" ] && [ -z "$dry" ]; then
        ask_all
    fi
    default_all
    check_answers
    check_disk
    plan_partitions
    check_room
    describe_plan
    [ -z "$dry" ] || { echo "Nothing was written (--dry-run)."; return; }
    if [ -z "$yes" ]; then
        printf 'Type yes to go on: '
        read -r answer || answer=
        [ "$answer" = yes ] || fail "nothing was written"
    fi
    install_system
}

# On a console instead of a login: what fails is tried again, and a shell helps to find out why.
install_console() {
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
    export PATH HOME
    while :; do
        printf '\nInstallation to a disk. Ctrl-C interrupts it at any time.\n\n'
        # The console is interrupted, too; it goes on with the question below.
        trap : INT
        ( trap - INT; install_main ) && done=1 || done=
        trap - INT
        printf '\n[r] restart the machine  [o] switch it off  [a] install again  [s] shell: '
        read -r choice || exit 0
        case $choice in
        r) systemctl reboot; exit ;;
        o) systemctl poweroff; exit ;;
        s) /bin/sh -l || : ;;
        a) ;;
        *) [ -z "$done" ] || echo "The system is installed." ;;
        esac
    done
}

# What the running system must have.
check_live_system() {
    [ "$(id -u)" = 0 ] || refuse "only root can install" "sudo bootprof-live install"
    for needed in sfdisk mke2fs mkfs.vfat tar chroot addpart; do
        command -v "$needed" >/dev/null || refuse "$needed: not found" \
            "add the packages fdisk, e2fsprogs and dosfstools to the image"
    done
    for needed in core.img boot.img partitions.tsv; do
        [ -r "$boot_files/$needed" ] || refuse "$boot_files/$needed: not found" \
            "the medium must be an image that was built with live.tools = true"
    done
    [ -r "$kernel_file" ] || refuse "$kernel_file: not found" \
        "start from a medium; a system that was started from a network has no kernel on it"
    find_root_images
    release=$(uname -r)
    [ -d "$source/lib/modules/$release" ] ||
        refuse "the root has no modules for its kernel $release"
    for needed in usr/bin/dpkg usr/sbin/update-initramfs usr/sbin/useradd; do
        [ -e "$source/$needed" ] || refuse "the root has no /$needed" \
            "only Debian systems with initramfs-tools can be installed"
    done
}

# The folders that the running root is stacked from, without what was changed since it started.
find_root_images() {
    layers=$(awk '$2 == "/" && $3 == "overlay" { print $4 }' "$root/proc/mounts" | tr , '\n' |
        sed -n 's/^lowerdir=//p' | tail -n 1)
    [ -n "$layers" ] || refuse "the root is no overlay" "only live systems can be installed"
    case $layers in
    *:*) source='' ;;
    *) source=${layers%/} ;;
    esac
    scratch=$(mktemp -d) || fail "no room for temporary files"
    trap clean_up EXIT
    trap 'printf "\n" >&2; fail "interrupted; the installation is incomplete" "start again" 130' \
        INT TERM HUP
    if [ -z "$source" ]; then
        mkdir "$scratch/source"
        mount -t overlay -o "ro,lowerdir=$layers" overlay "$scratch/source" ||
            fail "the layers of the root cannot be mounted"
        source=$scratch/source
    fi
    [ -d "$source/etc" ] || fail "$source: no root file system"
}

describe_plan() {
    echo "Disk:       $disk, $(size "$disk_size"), $(model_of "$disk_name"), with: $(content_of "$disk_name")"
    case $answer_place in
    whole) echo "Place:      the whole disk; EVERYTHING on it will be lost" ;;
    free) echo "Place:      free space; the other partitions stay as they are" ;;
    *) echo "Place:      instead of $answer_place, with: $(content_of "$(basename "$answer_place")"); EVERYTHING on it will be lost" ;;
    esac
    echo "Partitions:"
    while read -r role number start length _; do
        printf '  %-16s %9s  %s\n' "$(part_node "$number")" "$(size "$length")" "$(purpose "$role")"
    done <"$scratch/layout"
    [ -z "$esp_node" ] || printf '  %-16s %9s  %s\n' "$esp_node" "" "UEFI starts it, already there"
    echo "Host name:  $answer_hostname"
    echo "User:       ${answer_user:-none}"
    echo "Language:   ${answer_language:-as running}"
}

purpose() {
    case $1 in
    bios) echo "BIOS starts it" ;;
    esp) echo "UEFI starts it" ;;
    boot) echo "/boot" ;;
    root) if [ "$answer_encrypt" = yes ]; then echo "/, encrypted"; else echo "/"; fi ;;
    esac
}

clean_up() {
    status=$?
    trap - EXIT INT TERM HUP
    if [ -n "${target:-}" ]; then
        unmount_target
        close_root
        forget_partitions
    fi
    if [ -n "${scratch:-}" ]; then
        ! mountpoint -q "$scratch/source" || umount "$scratch/source"
        ! mountpoint -q "$scratch/esp" || umount "$scratch/esp"
        rm -rf --one-file-system "$scratch"
    fi
    exit "$status"
}

step() { echo "$1 ..."; }

install_system() {
    # Two consoles may show the installer.
    exec 9>/run/bootprof-live.lock
    flock -n 9 || refuse "an installation is running on another console"
    # What is made in the target is for all users.
    umask 022
    target=$scratch/target
    mkdir "$target"
    step "Making partitions and file systems"
    announce_partitions
    make_file_systems
    mount_target
    copy_system
    step "Configuring"
    configure_system
    step "Making the initial ramdisk"
    make_initrd
    write_boot_menu
    step "Writing everything to the disk"
    other_sector=$target/boot/grub/other.img
    save_other_boot_sector
    write_efi_programs
    unmount_target
    close_root
    flush_disk
    write_table
    write_boot_code
    forget_partitions
    target=''
    add_firmware_entry
    echo "Done. Switch off, remove the medium, and start from $disk."
}
