# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Copies a live medium to a disk or disc, reads it back and compares it.

copy_usage() {
    cat <<'USAGE'
usage: bootprof-live copy [OPTION]... [DEVICE]

Writes the medium of the running live system to DEVICE, reads it back from the device and compares
it. Without DEVICE, a wizard asks for all that it needs. Until the last write, DEVICE boots to a
menu that says that the copy is incomplete.

  DEVICE              disk, by its path or its serial number; or a drive that writes discs
  --from IMAGE        image (or drive) to copy instead of the running medium
  --keep              keep the partitions of DEVICE, and add the live system behind them
  --persistence SIZE  add a partition for changes: "rest", or a size such as 500M or 4G
  --encrypted         encrypt it; asks for a passphrase, or reads it from standard input with --yes
  --dry-run           check and say what would be done; write nothing
  --yes               do not ask; DEVICE must be named

exit status: 0 done, 1 failed, 2 wrong usage or a refused disk, 130 interrupted
USAGE
}

is_iso() { [ "$(dd if="$1" bs=1 skip=32769 count=5 2>/dev/null)" = CD001 ]; }
is_gpt() { [ "$(dd if="$1" bs=1 skip=512 count=8 2>/dev/null)" = "EFI PART" ]; }

# Bytes of a source that belong to the live medium.
source_bytes() {
    end=0
    if is_iso "$1"; then
        end=$(($(number_at "$1" 32848 4) * 2048))
    fi
    if [ -f "$1" ]; then
        wc -c <"$1"
        return
    fi
    name=$(basename "$(readlink -f "$1")")
    # The volume, and not the run-out blocks behind it.
    case $name in sr*) [ "$end" -gt 0 ] || end=$(disk_bytes "$name"); echo "$end"; return ;; esac
    for part in "$root/sys/block/$name/$name"*; do
        [ -e "$part/start" ] || continue
        last=$((($(cat "$part/start") + $(cat "$part/size")) * 512))
        [ "$last" -le "$end" ] || end=$last
    done
    echo "$end"
}

# Partitions of the source that are no part of the live system: such as those that --keep kept.
foreign_partitions() {
    [ -b "$source" ] || return 0
    sfdisk --dump -- "$source" 2>/dev/null | partitions /dev/stdin | if is_iso "$source"; then
        awk -v end="$(($(number_at "$source" 32848 4) * 4))" '$1 >= end'
    else
        awk '$4 != "bios" && $4 != "esp" && $4 != "live"'
    fi
}

find_source() {
    if [ -z "$source" ]; then
        device=$(live_device)
        case $device in
        /dev/*) source=/dev/$(disk_of "$device") live_source=$source ;;
        *) refuse "$(translate 'this is no live system that runs from a medium')" \
            "$(translate 'Name an image by --from.')" ;;
        esac
    fi
    [ -r "$source" ] || refuse "$(translate '%s: cannot be read' "$source")" \
        "$(translate 'Name an image by --from.')"
    if [ -b "$source" ]; then
        for node in "$source"[0-9]* "${source}p"[0-9]*; do
            [ -b "$node" ] || continue
            [ "$(blkid -o value -s LABEL "$node" 2>/dev/null)" != persistence ] ||
                [ "$(blkid -o value -s PARTLABEL "$node" 2>/dev/null)" = persistence ] ||
                refuse "$(translate '%s: the medium has a persistence partition, with personal data' "$node")" \
                    "$(translate 'Copy from the image file or another medium by --from.')"
        done
    fi
    total=$(source_bytes "$source")
    [ -z "$(foreign_partitions)" ] ||
        refuse "$(translate '%s: the medium has other partitions than those of the live system' "$source")" \
            "$(translate 'Copy from the image file or another medium by --from.')"
    [ "$total" -gt "$mib" ] || refuse "$(translate '%s: holds no live medium' "$source")" \
        "$(translate 'Name an image by --from.')"
    is_iso "$source" || is_gpt "$source" || [ "$(dd if="$source" bs=1 skip=510 count=2 2>/dev/null |
        od -An -tx1 | tr -d ' ')" = 55aa ] ||
        refuse "$(translate '%s: neither an ISO nor a disk image' "$source")" \
            "$(translate 'Name an image that bootprof build made.')"
    [ -n "$marker" ] || marker=$root/run/live/medium/boot/incomplete.img
    [ -r "$marker" ] || marker=
}

check_target() {
    target_table='' disc=''
    case $target in
    stdio:*)
        disc=1 what=$target target_bytes=$total
        ;;
    *)
        if [ -f "$target" ]; then
            check_file
        else
            check_disk_target
        fi
        ;;
    esac
    if [ -n "$disc" ]; then
        is_iso "$source" || refuse "$(translate '%s: a disc needs an ISO, and this is none' "$source")" \
            "$(translate 'Build the medium with media.kinds = ["iso"].')"
        command -v xorriso >/dev/null || refuse "$(translate 'xorriso, which writes discs, is not installed')"
        [ -z "$keep$persistence" ] ||
            refuse "$(translate '%s: a disc has no room for further partitions' "$target")"
        return
    fi
    # Where there is room behind the live medium, the last MiB is blanked, and gets a table there.
    [ -n "$keep" ] || [ "$target_bytes" -ge $((total + mib)) ] || [ "$target_bytes" -eq "$total" ] ||
        refuse "$(translate '%s: has %s, the live medium needs %s' "$target" "$(size "$target_bytes")" \
            "$(size $((total + mib)))")" "$(translate 'Use a larger stick.')"
}

check_file() {
    past_cache=nocache write_flags=
    target_bytes=$(wc -c <"$target")
    [ "$(readlink -f "$target")" != "$(readlink -f "$source")" ] ||
        refuse "$(translate '%s: this is the source' "$target")" "$(translate 'Name another file.')"
    [ -w "$target" ] || refuse "$(translate '%s: not written to, because %s' "$target" \
        "$(translate 'it is read-only')")"
    what=$target
    target_table=$(table_of "$target")
}

check_disk_target() {
    another=$(translate 'Name another disk; bootprof-live list shows them.')
    target=$(readlink -f "$target")
    name=$(basename "$target")
    [ -e "$root/sys/class/block/$name" ] || refuse "$(translate '%s: no disk' "$target")" "$another"
    case $name in
    sr*)
        { [ "$(disk_of "$source")" != "$name" ] && [ "$(live_disk)" != "$name" ]; } ||
            refuse "$(translate '%s: this is the source' "$target")" "$another"
        disc=1 past_cache=nocache target_bytes=$total what="$target, $(model_of "$name")"
        disc_writers | grep -qx "$name" ||
            refuse "$(translate '%s: this drive cannot write discs' "$target")" "$another"
        return
        ;;
    esac
    [ ! -e "$root/sys/class/block/$name/partition" ] ||
        refuse "$(translate '%s: a partition' "$target")" \
            "$(translate 'Name the whole disk, %s' "/dev/$(disk_of "$target")")"
    [ "$(disk_of "$source")" != "$name" ] ||
        refuse "$(translate '%s: this is the source' "$target")" "$another"
    reason=$(why_not "$name")
    [ -z "$reason" ] ||
        refuse "$(translate '%s: not written to, because %s' "$target" "$reason")" "$another"
    # The kernel knows users that no table names, such as the second disk of a btrfs.
    case $(blockdev --rereadpt "$target" 2>&1) in
    *busy*) refuse "$(translate '%s: not written to, because %s' "$target" "$(translate 'it is in use')")" \
        "$another" ;;
    esac
    sector=$(cat "$root/sys/block/$name/queue/logical_block_size" 2>/dev/null || echo 512)
    [ "$sector" = 512 ] ||
        refuse "$(translate '%s: has sectors of %s bytes, the live medium is for 512' "$target" "$sector")" \
            "$another"
    past_cache=direct write_flags=direct,
    target_bytes=$(disk_bytes "$name")
    what="$target, $(size "$target_bytes"), $(model_of "$name")"
    serial=$(serial_of "$name")
    what="$what${serial:+, $serial}, $(translate 'with: %s' "$(content_of "$name")")"
    target_table=$(table_of "$target")
}

# The number of bytes that a user writes as 500M or 4G (the units on the packages of sticks).
check_persistence() {
    case $persistence in
    '' | rest) return ;;
    *[!0-9MG]* | [MG]* | *[MG]?*) number= ;;
    *M) number=$((${persistence%M} * 1000000)) ;;
    *G) number=$((${persistence%G} * 1000000000)) ;;
    *) number= ;;
    esac
    [ "${number:-0}" -ge $((64 * mib)) ] ||
        refuse "$(translate '%s: no size of at least 68M' "--persistence $persistence")" \
            "$(translate 'Write "rest", or a size such as 500M or 4G.')"
    persistence=$((number / mib * mib))
}

parse() {
    source='' target='' yes='' dry='' keep='' persistence='' encrypted='' gauge='' marked=''
    marker=${BOOTPROF_LIVE_MARKER:-}
    while [ $# -gt 0 ]; do
        case $1 in
        --from | --persistence)
            [ $# -gt 1 ] || refuse "$(translate '%s: needs an argument' "$1")"
            if [ "$1" = --from ]; then source=$2; else persistence=$2; fi
            shift
            ;;
        --yes) yes=1 ;;
        --dry-run) dry=1 ;;
        --keep) keep=1 ;;
        --encrypted) encrypted=1 ;;
        -h | --help) copy_usage; exit ;;
        -*) refuse "$(translate '%s: no such option' "$1")" \
            "$(translate 'bootprof-live copy --help lists them.')" ;;
        *)
            [ -z "$target" ] || refuse "$(translate '%s: only one disk can be named' "$1")"
            target=$1
            ;;
        esac
        shift
    done
    [ -z "$encrypted" ] || [ -n "$persistence" ] ||
        refuse "$(translate '%s: needs --persistence' --encrypted)"
    [ -z "$encrypted" ] || command -v cryptsetup >/dev/null ||
        refuse "$(translate 'cryptsetup, which encrypts, is not installed')"
    check_persistence
}

make_scratch() {
    for folder in "${TMPDIR:-/tmp}" "$root/run" "$root/dev/shm"; do
        scratch=$(mktemp -d -p "$folder" bootprof-live.XXXXXX 2>/dev/null) || continue
        # A full file system makes folders, and no files. The largest file has some MiB.
        if head -c $((4 * mib)) /dev/zero >"$scratch/room" 2>/dev/null; then
            rm "$scratch/room"
            trap 'rm -rf "$scratch"' EXIT
            return
        fi
        rm -rf "$scratch"
    done
    fail "$(translate 'no room for temporary files in %s' "${TMPDIR:-/tmp}, /run, /dev/shm")" \
        "$(translate 'Delete files, or restart the live system.')"
}

# What is going to be done, checked: nothing is written yet.
plan() {
    find_source
    check_target
    [ -n "$disc" ] || if [ -n "$keep" ]; then plan_beside; else plan_whole; fi
}

announce() {
    translate 'Source: %s, %s' "$source" "$(size "$total")"
    echo
    translate 'Target: %s' "$what"
    echo
    if [ -n "$keep" ]; then
        translate 'The partitions of the target stay; the live system is added behind them.'
    else
        translate 'EVERYTHING on the target will be lost.'
    fi
    echo
    [ -z "$persistence" ] || {
        translate 'Partition for changes: %s' "$(size "$persistence_bytes")"
        [ -z "$encrypted" ] || translate ', encrypted'
        echo
    }
}

ask_passphrase() {
    [ -n "$encrypted" ] || return 0
    if [ -n "$yes" ]; then
        IFS= read -r passphrase || passphrase=
    else
        enter_secret "$(translate Encryption)" "$(translate 'Passphrase for the changes:')" || cancelled
        passphrase=$secret
    fi
    [ -n "$passphrase" ] || refuse "$(translate 'the passphrase is empty; nothing was written')"
}

copy() {
    copy_words
    parse "$@"
    if [ -z "$target" ] && [ -z "$yes$dry" ] && [ -t 0 ] && [ -t 1 ]; then
        wizard
        return
    fi
    [ -n "$target" ] || refuse "$(translate 'no disk named')" \
        "$(translate 'bootprof-live list shows the disks.')"
    target=$(disk_named "$target") || exit
    make_scratch
    plan
    announce
    [ -z "$dry" ] || { translate 'Nothing was written (--dry-run).'; echo; return; }
    if [ -z "$yes" ]; then
        said_yes || cancelled
    fi
    ask_passphrase
    perform
}

# Everything after the consent.
perform() {
    # Only what has to last: the system may be switched off at any moment.
    trap 'broken "$(translate interrupted)" "$(translate "The copy is incomplete. Start it again.")" 130' \
        INT TERM HUP
    if [ -n "$disc" ]; then
        burn
    elif [ -n "$keep" ]; then
        perform_beside
    else
        perform_whole
    fi
    [ -n "$disc" ] || [ ! -b "$target" ] || blockdev --rereadpt "$target" 2>"$scratch/dd" || :
    trap - INT TERM HUP
    translate 'Done: %s written, read back and compared.' "$(size "$total")"
    echo
}

perform_whole() {
    marked=1
    mark || fail "$(translate '%s: cannot be written: %s' "$target" "$(said "$scratch/dd" | sed 's/.*: //')")" \
        "$(translate 'Is it write-protected?')"
    each_piece write_range "$(translate Writing)"
    flush
    each_piece compare_range "$(translate Checking)"
    [ -z "$persistence" ] || make_persistence
    tail=$((target_bytes - mib))
    [ "$target_bytes" -eq "$total" ] || put "$scratch/disk" "$tail" "$mib" "$tail"
    ! is_iso "$source" || last_write_bytes=$last_write_bytes_iso
    put "$scratch/disk" "$last_write_bytes" $((mib - last_write_bytes)) "$last_write_bytes"
    put "$scratch/disk" 0 "$last_write_bytes" 0
    marked=
}

# Up to the last write the tables of the target are those that it had.
perform_beside() {
    each_piece write_range "$(translate Writing)"
    flush
    each_piece compare_range "$(translate Checking)"
    [ -z "$persistence" ] || make_persistence
    put "$scratch/core" 0 $((core_sectors * 512)) $((core_to * 512))
    if [ "$target_table" = gpt ]; then
        put "$scratch/disk" "$last" $((target_bytes - last)) "$last"
        put "$scratch/disk" 512 16896 512
    fi
    put "$scratch/disk" 0 512 0
}

burn() {
    translate 'Writing the disc; this takes some minutes.'
    echo
    dd if="$source" bs="$mib" iflag=count_bytes,fullblock count="$total" 2>"$scratch/dd" |
        xorriso -as cdrecord -v dev="$target" blank=as_needed padsize=300k fs=16m - >"$scratch/xorriso" 2>&1 ||
        fail "$(translate '%s: the disc cannot be written: %s' "$target" \
            "$(grep -E 'FATAL|FAILURE|SORRY' "$scratch/xorriso" | head -n 1 | printable 120)")" \
            "$(translate 'Use another disc.')"
    target=${target#stdio:}
    past_cache=nocache
    blockdev --flushbufs "$target" 2>/dev/null || :
    echo "0 $total 0" >"$scratch/pieces"
    each_piece compare_range "$(translate Checking)"
}
