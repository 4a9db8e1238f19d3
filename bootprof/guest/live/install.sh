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
    answers_file='' yes='' dry='' gauge=''
    install_words
    clear_answers
    while [ $# -gt 0 ]; do
        case $1 in
        --answers) [ $# -gt 1 ] || refuse "$(translate '%s: needs an argument' --answers)"; answers_file=$2; shift ;;
        --yes) yes=1 ;;
        --dry-run) dry=1 ;;
        -h | --help) install_usage; return ;;
        -*) refuse "$(translate '%s: no such option' "$1")" \
            "$(translate 'bootprof-live install --help lists them.')" ;;
        *) [ -z "$answer_disk" ] || refuse "$(translate '%s: only one disk can be named' "$1")"; answer_disk=$1 ;;
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
    [ -z "$dry" ] || { describe_plan; translate 'Nothing was written (--dry-run).'; echo; return; }
    if [ -n "$yes" ]; then
        describe_plan
        install_system
    else
        confirm "$(translate 'Install now?')" "$(describe_plan)" || cancelled
        if has_windows; then
            finish_in_window "$(translate Installing)" install_beside_window \
                "$(translate 'The installation failed')" 5
        else
            install_system
        fi
    fi
}

# In a shell of its own, which lets go of the disk; the one around it has the temporary files.
install_beside_window() {
    trap release_target EXIT
    trap_interruption
    install_system
}

# On a console instead of a login: what fails is tried again, and a shell helps to find out why.
install_console() {
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
    export PATH HOME
    # No login has set a language.
    [ -n "$language" ] || language=$(sed -n 's/^LANG="\{0,1\}\([A-Za-z0-9_.@-]*\)"\{0,1\}$/\1/p' \
        "$root/etc/default/locale" "$root/etc/locale.conf" 2>/dev/null | tail -n 1)
    case $language in C | POSIX | C.*) language= ;; esac
    while :; do
        printf '\n'
        translate 'Installation to a disk. Ctrl-C interrupts it at any time.'
        printf '\n\n'
        # The console is interrupted, too; it goes on with the question below.
        trap : INT
        ( trap - INT; install_main ) && done=1 || done=
        trap - INT
        printf '\n'
        translate '[r] restart the machine  [o] switch it off  [a] install again  [s] shell: '
        read -r choice || exit 0
        case $choice in
        r) systemctl reboot; exit ;;
        o) systemctl poweroff; exit ;;
        s) /bin/sh -l || : ;;
        a) ;;
        *) [ -z "$done" ] || { translate 'The system is installed.'; echo; } ;;
        esac
    done
}

# What the running system must have.
check_live_system() {
    [ "$(id -u)" = 0 ] || refuse "$(translate 'only root can install')" "sudo bootprof-live install"
    for needed in sfdisk mke2fs mkfs.vfat tar chroot addpart; do
        command -v "$needed" >/dev/null || refuse "$(translate '%s: not found' "$needed")" \
            "$(translate 'Add the packages fdisk, e2fsprogs and dosfstools to the image.')"
    done
    for needed in core.img boot.img partitions.tsv; do
        [ -r "$boot_files/$needed" ] || refuse "$(translate '%s: not found' "$boot_files/$needed")" \
            "$(translate 'Start from a medium that was built with live.tools = true.')"
    done
    [ -r "$kernel_file" ] || refuse "$(translate '%s: not found' "$kernel_file")" \
        "$(translate 'Start from a medium; a system that was started from a network has no kernel on it.')"
    find_root_images
    release=$(uname -r)
    [ -d "$source/lib/modules/$release" ] ||
        refuse "$(translate 'the root has no modules for its kernel %s' "$release")"
    for needed in usr/bin/dpkg usr/sbin/update-initramfs usr/sbin/useradd; do
        [ -e "$source/$needed" ] || refuse "$(translate 'the root has no /%s' "$needed")" \
            "$(translate 'Only Debian systems with initramfs-tools can be installed.')"
    done
}

# The folders that the running root is stacked from, without what was changed since it started.
find_root_images() {
    layers=$(awk '$2 == "/" && $3 == "overlay" { print $4 }' "$root/proc/mounts" | tr , '\n' |
        sed -n 's/^lowerdir=//p' | tail -n 1)
    [ -n "$layers" ] || refuse "$(translate 'the root is no overlay')" \
        "$(translate 'Only live systems can be installed.')"
    case $layers in
    *:*) source='' ;;
    *) source=${layers%/} ;;
    esac
    make_install_scratch
    trap clean_up EXIT
    trap_interruption
    if [ -z "$source" ]; then
        mkdir "$scratch/source"
        mount -t overlay -o "ro,lowerdir=$layers" overlay "$scratch/source" ||
            fail "$(translate 'the layers of the root cannot be mounted')"
        source=$scratch/source
    fi
    [ -d "$source/etc" ] || fail "$(translate '%s: no root file system' "$source")"
}

describe_plan() {
    line_of "$(translate 'Disk:')" "$disk, $(size "$disk_size"), $(model_of "$disk_name")"
    line_of "$(translate 'Contents:')" "$(content_of "$disk_name")"
    line_of "$(translate 'Place:')" "$(case $answer_place in
        whole) translate 'the whole disk; EVERYTHING on it will be lost' ;;
        free) translate 'free space; the other partitions stay unchanged' ;;
        *) translate 'instead of %s, with: %s; EVERYTHING on it will be lost' "$answer_place" \
            "$(content_of_node "$answer_place")" ;;
    esac)"
    translate 'Partitions:'
    echo
    while read -r role number start length _; do
        printf '  %-16s %9s  %s\n' "$(part_node "$number")" "$(size "$length")" "$(purpose "$role")"
    done <"$scratch/layout"
    [ -z "$esp_node" ] || printf '  %-16s %9s  %s\n' "$esp_node" "" \
        "$(translate 'UEFI starts from it; already there')"
    line_of "$(translate 'Host name:')" "$answer_hostname"
    line_of "$(translate 'User:')" "${answer_user:-$(translate none)}"
    line_of "$(translate 'Language:')" "${answer_language:-$(translate 'as running')}"
}

line_of() { printf '%s %s\n' "$(column 11 "$1")" "$2"; }

purpose() {
    case $1 in
    bios) translate 'a BIOS starts the system from it' ;;
    esp) translate 'UEFI starts the system from it' ;;
    boot) echo "/boot" ;;
    root) if [ "$answer_encrypt" = yes ]; then translate '/, encrypted'; else echo "/"; fi ;;
    esac
}

make_install_scratch() {
    for folder in "${TMPDIR:-/tmp}" "$root/run" "$root/dev/shm"; do
        scratch=$(mktemp -d -p "$folder" bootprof-live.XXXXXX 2>/dev/null) || continue
        # A full file system makes folders, and no files.
        if head -c "$mib" /dev/zero >"$scratch/room" 2>/dev/null; then
            rm "$scratch/room"
            return
        fi
        rm -rf "$scratch"
    done
    scratch=''
    fail "$(translate 'no room for temporary files in %s' "${TMPDIR:-/tmp}, /run, /dev/shm")" \
        "$(translate 'Delete files, or restart the live system.')"
}

trap_interruption() {
    trap 'printf "\n" >&2; fail "$(translate "interrupted; the installation is incomplete")" "$(translate "Start it again.")" 130' \
        INT TERM HUP
}

# Nothing of the disk is used any more, and the kernel has the partitions of its table.
release_target() {
    [ -n "${target:-}" ] || return 0
    unmount_target
    close_root
    forget_partitions
}

clean_up() {
    status=$?
    trap - EXIT INT TERM HUP
    release_target
    if [ -n "${scratch:-}" ]; then
        ! mountpoint -q "$scratch/source" || umount "$scratch/source"
        ! mountpoint -q "$scratch/esp" || umount "$scratch/esp"
        rm -rf --one-file-system "$scratch"
    fi
    exit "$status"
}

# step PERCENT TEXT: of the whole installation, for a window.
step() {
    if [ -n "$gauge" ]; then
        interruptible
        printf 'XXX\n%d\n%s\nXXX\n' "$1" "$2" >&4
    else
        printf '%s ...\n' "$2"
    fi
}

install_system() {
    # Two consoles may show the installer.
    exec 9>/run/bootprof-live.lock
    flock -n 9 || refuse "$(translate 'an installation is running on another console')"
    # What is made in the target is for all users.
    umask 022
    target=$scratch/target
    mkdir "$target"
    step 0 "$(translate 'Making partitions and file systems')"
    announce_partitions
    make_file_systems
    mount_target
    gauge_from=2 gauge_to=70
    copy_system
    step 70 "$(translate 'Configuring')"
    configure_system
    step 75 "$(translate 'Making the initial ramdisk')"
    make_initrd
    write_boot_menu
    step 90 "$(translate 'Writing everything to the disk')"
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
    translate 'Done. Switch off, remove the medium, and start from %s.' "$disk"
    echo
}
