# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# The wizard of bootprof-live copy.

copy_words() {
    work=$(translate 'Copy the live system   (arrows and Tab: move, Enter: go on, Esc: cancel)')
    go=$(translate Copy)
    # Remembers the units for subshells.
    size 0 >/dev/null
}

wizard() {
    find_source
    while :; do
        disks=$(offered)
        set --
        for disk in $disks; do
            set -- "$@" "/dev/$disk" "$(printf '%-10s %9s  %-20s  %s' "/dev/$disk" \
                "$(size "$(disk_bytes "$disk")")" "$(model_of "$disk" | cut -c 1-20)" \
                "$(content_of "$disk" | cut -c 1-20)")"
        done
        if is_iso "$source" && command -v xorriso >/dev/null; then
            for drive in $(disc_writers); do
                [ "/dev/$drive" = "$source" ] ||
                    set -- "$@" "/dev/$drive" "$(printf '%-10s %9s  %s' "/dev/$drive" '' \
                        "$(translate 'writes CDs or DVDs')")"
            done
        fi
        target=$(choose "$(translate 'Where to')" \
            "$(translate 'Copy %s to which disk? Disks in use are not shown.' "$(size "$total")")" \
            "$@" again "$(translate 'Look again, after plugging in a stick')") || cancelled
        [ "$target" = again ] || break
    done
    make_scratch
    case $target in /dev/sr*) ;; *) ask_options ;; esac
    # Refused here as with options, in words that a window has room for.
    if ! (plan) >"$scratch/refused" 2>&1; then
        show "$(translate 'This does not work')" "$(sed 's/^bootprof-live: //' "$scratch/refused")"
        exit 2
    fi
    plan
    confirm "$(translate 'Copy now?')" "$(announce)" || cancelled
    ask_wizard_passphrase
    if has_windows; then
        finish_in_window "$(translate Copying)" perform "$(translate 'The copy failed')" +1
    else
        perform
    fi
}

ask_options() {
    if [ -n "$(table_of "$target")" ]; then
        set -- keep "$(translate 'Keep what is on the stick, and add the live system behind it')"
    else
        set --
    fi
    choice=$(choose "$(translate 'How')" "$(translate 'What is to be done with %s?' "$target")" \
        whole "$(translate 'Use the whole stick for the live system')" \
        rest "$(translate 'The same, and keep changes on the rest of the stick')" \
        encrypted "$(translate 'The same, with the changes encrypted')" "$@") || cancelled
    case $choice in
    keep) keep=1 ;;
    rest) persistence=rest ;;
    encrypted) persistence=rest encrypted=1 ;;
    esac
    [ -z "$encrypted" ] || command -v cryptsetup >/dev/null || {
        show "$(translate 'This does not work')" \
            "$(translate 'cryptsetup, which encrypts, is not installed')"
        exit 2
    }
}

ask_wizard_passphrase() {
    [ -n "$encrypted" ] || return 0
    enter_secret "$(translate Encryption)" "$(translate 'Passphrase for the changes:')" || cancelled
    passphrase=$secret
}
