# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Questions of copy and install: in windows (whiptail), or line by line where there are none.
# The caller sets: $work, the top line; $go, the label of the button that starts the work.

# Windows need a terminal that can place text. The locale decides how letters are drawn.
has_windows() {
    { [ -t 0 ] && [ -t 2 ]; } || return
    command -v whiptail >/dev/null || return
    case ${TERM:-dumb} in dumb | unknown) return 1 ;; esac
}

window() {
    LC_ALL=${language:-C.UTF-8} whiptail --backtitle "$work" \
        --ok-button "$(translate OK)" --cancel-button "$(translate Cancel)" \
        --yes-button "$go" --no-button "$(translate Cancel)" "$@" 3>&1 1>&2 2>&3
}

# rows TEXT OTHERS: the height of a window with a text and other rows, on a screen of 24 rows.
rows() {
    text_rows=$(printf '%s\n' "$1" | fold -s -w 72 | wc -l)
    echo $((text_rows + $2 > 22 ? 22 : text_rows + $2))
}

# choose TITLE TEXT {TAG DESCRIPTION}...: prints the tag; 1 if the user cancelled.
choose() {
    title=$1 text=$2
    shift 2
    if has_windows; then
        shown=$(($# / 2 > 12 ? 12 : $# / 2))
        window --title "$title" --notags --menu "$text" "$(rows "$text" $((shown + 8)))" 76 "$shown" "$@"
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
        '' | *[!0-9]* | ??????*) continue ;;
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
        window --title "$1" --defaultno --yesno "$2" "$(rows "$2" 7)" 76
        return
    fi
    printf '\n%s\n%s\n' "$1" "$2"
    said_yes
}

# Consent in a line: the whole word, in English or the user's language.
said_yes() {
    translate 'Type yes to go on: '
    read -r answer || answer=
    [ "$answer" = yes ] || [ "$answer" = "$(translate yes)" ]
}

show() {
    if has_windows; then
        window --title "$1" --msgbox "$2" "$(rows "$2" 7)" 76
    else
        printf '\n%s\n%s\n' "$1" "$2"
    fi
}

# enter TITLE TEXT DEFAULT: prints what is typed; an empty line means the default.
enter() {
    if has_windows; then
        window --title "$1" --inputbox "$2" "$(rows "$2" 8)" 76 -- "$3"
        return
    fi
    printf '%s%s: ' "${2%:}" "${3:+ [$3]}" >&2
    read -r typed || return 1
    printf '%s\n' "${typed:-$3}"
}

# enter_secret TITLE TEXT: sets $secret, which is typed twice and not shown; 1 if the user cancelled.
enter_secret() {
    while :; do
        if has_windows; then
            secret=$(window --title "$1" --passwordbox "$2" "$(rows "$2" 8)" 76) || return 1
            again=$(window --title "$1" --passwordbox "$(translate 'The same once more:')" 9 76) || return 1
        else
            trap 'stty echo; exit 130' INT TERM HUP
            stty -echo 2>/dev/null || :
            printf '%s ' "$2"
            IFS= read -r secret || { stty echo; return 1; }
            printf '\n'
            translate 'The same once more:'
            IFS= read -r again || again=
            stty echo 2>/dev/null || :
            trap - INT TERM HUP
            printf '\n'
        fi
        if [ -n "$secret" ] && [ "$secret" = "$again" ]; then return; fi
        show "$1" "$(translate 'Empty, or not the same. Try again.')"
    done
}

cancelled() { fail "$(translate 'nothing was written')"; }

# perform_in_window TITLE COMMAND: the command runs beside the window that shows how far it is.
# Sets $status; what the command printed is in $scratch/out and $scratch/errors.
perform_in_window() {
    trap '' INT
    {
        (
            gauge=1
            "$2"
        ) 4>&1 >"$scratch/out" 2>"$scratch/errors"
        echo $? >"$scratch/status"
    } | LC_ALL=${language:-C.UTF-8} whiptail --backtitle "$(translate 'Ctrl-C: interrupt')" \
        --title "$1" --gauge "$1" 8 76 0
    trap - INT
    status=$(cat "$scratch/status")
}

# finish_in_window TITLE COMMAND FAILED LINES: the same, then a window with the last lines of what the
# command printed, or with what failed; exits as the command did.
finish_in_window() {
    perform_in_window "$1" "$2"
    if [ "$status" = 0 ]; then
        show "$(translate Done)" "$(tail -n "$4" "$scratch/out")"
    else
        show "$3" "$(sed 's/^bootprof-live: //' "$scratch/errors")"
    fi
    exit "$status"
}
