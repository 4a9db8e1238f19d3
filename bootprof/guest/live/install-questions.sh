# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# What a person is asked before an installation.

install_words() {
    work=$(translate 'Install the live system   (arrows and Tab: move, Enter: go on, Esc: cancel)')
    go=$(translate Install)
    size 0 >/dev/null
}

ask_all() {
    default_all
    [ -n "$answer_disk" ] || ask_disk
    ask_place
    ask_answer hostname "$(translate 'Host name')" "$(translate 'Name of the computer in a network:')"
    : "${answer_user:=user}"
    ask_answer user "$(translate User)" "$(translate 'Login name of the first user:')"
    if [ -z "$answer_password_hash" ]; then
        enter_secret "$(translate User)" "$(translate 'Password of %s:' "$answer_user")" || cancelled
        answer_password=$secret
    fi
    ! can_encrypt || ask_encryption
}

# ask_answer KEY TITLE TEXT: again until the answer can be used.
ask_answer() {
    while :; do
        eval "value=\$answer_$1"
        value=$(enter "$2" "$3" "$value") || cancelled
        eval "answer_$1=\$value"
        if [ -n "$value" ] && (check_answer "$1") 2>"$scratch/refused"; then return; fi
        [ -s "$scratch/refused" ] || translate 'An answer is needed.' >"$scratch/refused"
        show "$2" "$(sed 's/^bootprof-live: //' "$scratch/refused")"
    done
}

# Disks that are not in use, removable or not.
ask_disk() {
    while :; do
        set --
        for sys in "$root/sys/block/"*; do
            disk_name=$(basename "$sys")
            case $disk_name in sd* | mmcblk*[0-9] | nvme* | vd* | xvd*) ;; *) continue ;; esac
            [ -z "$(why_not "$disk_name")" ] || continue
            set -- "$@" "/dev/$disk_name" "$(printf '%-12s %9s  %-20s  %s' "/dev/$disk_name" \
                "$(size "$(disk_bytes "$disk_name")")" "$(model_of "$disk_name" | cut -c 1-20)" \
                "$(content_of "$disk_name" | cut -c 1-20)")"
        done
        answer_disk=$(choose "$(translate 'Where to')" \
            "$(translate 'Install to which disk? Disks in use are not shown.')" \
            "$@" again "$(translate 'Look again, after attaching a disk')") || cancelled
        [ "$answer_disk" = again ] || break
    done
}

# The whole disk, and what a partition table offers besides.
ask_place() {
    set -- whole "$(translate 'The whole disk; everything on it is lost')"
    case $(sfdisk --dump -- "$answer_disk" 2>/dev/null | sed -n 's/^label: *//p') in
    gpt | dos)
        set -- "$@" free "$(translate 'Free space, beside the other systems')"
        for sys in "$root/sys/class/block/$(basename "$answer_disk")"/*/partition; do
            [ -e "$sys" ] || continue
            node=$(basename "$(dirname "$sys")")
            set -- "$@" "/dev/$node" "$(translate 'Instead of %s' "$(printf '%-12s %9s  %s' \
                "/dev/$node" "$(size $(($(cat "$root/sys/class/block/$node/size") * 512)))" \
                "$(content_of_node "/dev/$node" | cut -c 1-20)")")"
        done
        ;;
    esac
    [ $# -gt 2 ] || { answer_place=whole; return; }
    answer_place=$(choose "$(translate Place)" "$(translate 'Where on %s?' "$answer_disk")" "$@") ||
        cancelled
}

ask_encryption() {
    answer_encrypt=$(choose "$(translate Encryption)" "$(translate 'Encrypt the system?')" \
        no "$(translate 'No')" \
        yes "$(translate 'Yes; its passphrase is typed at each start')") || cancelled
    [ "$answer_encrypt" = yes ] || return 0
    enter_secret "$(translate Encryption)" "$(translate 'Passphrase:')" || cancelled
    answer_passphrase=$secret
}
