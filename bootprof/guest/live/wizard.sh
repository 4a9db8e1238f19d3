# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# The wizard of bootprof-live copy: in windows (whiptail), or line by line where there is none.

# Windows need a terminal that can place text. The locale decides how letters are drawn.
has_windows() {
    command -v whiptail >/dev/null || return
    case ${TERM:-dumb} in dumb | unknown) return 1 ;; esac
}

backtitle() {
    translate 'Copy the live system   (arrows and Tab: move, Enter: go on, Esc: cancel)'
}

window() {
    LC_ALL=${language:-C.UTF-8} whiptail --backtitle "$(backtitle)" \
        --ok-button "$(translate OK)" --cancel-button "$(translate Cancel)" \
        --yes-button "$(translate Copy)" --no-button "$(translate Cancel)" "$@" 3>&1 1>&2 2>&3
}

# choose TITLE TEXT {TAG DESCRIPTION}...: prints the tag; 1 if the user cancelled.
choose() {
    title=$1 text=$2
    shift 2
    if has_windows; then
        window --title "$title" --notags --menu "$text" $(($# / 2 + 9)) 76 $(($# / 2)) "$@"
        return
    fi
    printf '\n%s\n%s\n' "$title" "$text" >&2
    number=0
    for item; do
        number=$((number + 1))
        [ $((number % 2)) = 1 ] || printf '  %d  %s\n' $((number / 2)) "$item" >&2
    done
    while :; do
        translate 'Number, or q to quit: ' >&2
        read -r typed || return 1
        case $typed in
        q | Q) return 1 ;;
        '' | *[!0-9]*) continue ;;
        esac
        if [ "$typed" -ge 1 ] && [ "$typed" -le $((number / 2)) ]; then
            shift $((typed * 2 - 2))
            echo "$1"
            return
        fi
    done
}

confirm() {
    if has_windows; then
        window --title "$1" --defaultno --yesno "$2" 14 76
        return
    fi
    printf '\n%s\n%s\n' "$1" "$2"
    translate 'Type yes to go on: '
    read -r answer || answer=
    [ "$answer" = yes ] || [ "$answer" = "$(translate yes)" ]
}

show() {
    if has_windows; then window --title "$1" --msgbox "$2" 12 76; else printf '\n%s\n%s\n' "$1" "$2"; fi
}

cancelled() { fail "$(translate 'nothing was written')"; }

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
        perform_in_window
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
    has_windows || { ask_passphrase; return; }
    passphrase='' again=other
    while [ -z "$passphrase" ] || [ "$passphrase" != "$again" ]; do
        passphrase=$(window --title "$(translate Encryption)" --passwordbox \
            "$(translate 'Passphrase for the changes:')" 9 76) || cancelled
        again=$(window --title "$(translate Encryption)" --passwordbox \
            "$(translate 'The same once more:')" 9 76) || cancelled
    done
}

# The copy runs beside the window that shows how far it is.
perform_in_window() {
    trap '' INT
    {
        (
            gauge=1
            perform
        ) 4>&1 >"$scratch/out" 2>"$scratch/errors"
        echo $? >"$scratch/status"
    } | LC_ALL=${language:-C.UTF-8} whiptail --backtitle "$(backtitle)" \
        --title "$(translate 'Copying')" --gauge "$(translate 'Writing')" 8 76 0
    trap - INT
    status=$(cat "$scratch/status")
    if [ "$status" = 0 ]; then
        show "$(translate 'Done')" "$(cat "$scratch/out")"
    else
        show "$(translate 'The copy failed')" "$(sed 's/^bootprof-live: //' "$scratch/errors")"
    fi
    exit "$status"
}
