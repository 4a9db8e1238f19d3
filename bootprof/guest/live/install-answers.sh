# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# What an installation must know: read from a file, asked, or taken from the running system.

answer_keys='disk place hostname user full_name password password_hash root_password
root_password_hash language keyboard timezone encrypt passphrase boot_options'

clear_answers() {
    for key in $answer_keys; do eval "answer_$key=''"; done
    : "${answer_full_name=}"
}

# read_answers FILE: lines "key = value"; a value is everything behind the blanks.
read_answers() {
    { [ -f "$1" ] && [ -r "$1" ]; } || refuse "$(translate '%s: no file that can be read' "$1")"
    line_number=0
    answers_name=$1
    while IFS= read -r line || [ -n "$line" ]; do
        line_number=$((line_number + 1))
        line=$(printf %s "$line" | tr -d '\r')
        case $line in '' | \#*) continue ;; esac
        case $line in *=*) ;; *) refuse "$(translate '%s, line %s: no "key = value"' "$answers_name" "$line_number")" ;; esac
        key=$(printf %s "${line%%=*}" | tr -d ' \t')
        value=$(printf %s "${line#*=}" | sed 's/^[ \t]*//; s/[ \t]*$//')
        # shellcheck disable=SC2086 # one word a line
        printf '%s\n' $answer_keys | grep -qxF -- "$key" || refuse \
            "$(translate '%s, line %s: no such key: %s' "$answers_name" "$line_number" "$(printf %s "$key" | printable 30)")" \
            "$(translate 'Keys: %s' "$(printf %s "$answer_keys" | tr '\n' ' ')")"
        [ "$(printf %s "$value" | wc -c)" -le 1000 ] ||
            refuse "$(translate '%s, line %s: longer than 1000 bytes' "$answers_name" "$line_number")"
        eval "answer_$key=\$value"
    done <"$1"
}

# matches TEXT PATTERN: an extended regular expression for one whole line.
matches() {
    case $1 in *"
"*) return 1 ;; esac
    printf '%s\n' "$1" | grep -Eqx -- "$2"
}

default_all() {
    : "${answer_place:=whole}" "${answer_encrypt:=no}"
    : "${answer_hostname:=$(cat "$source/etc/hostname" 2>/dev/null || echo debian)}"
}

# check_value KEY PATTERN WHAT: an answer that is not empty.
check_value() {
    eval "value=\$answer_$1"
    [ -z "$value" ] || matches "$value" "$2" ||
        refuse "$(translate '%s: expected %s, found: %s' "$1" "$3" "$(printf %s "$value" | printable 40)")"
}

# check_answer KEY: what can be said of one answer alone.
check_answer() {
    case $1 in
    place) check_value place 'whole|free|/dev/[A-Za-z0-9/_.:-]+' \
        "$(translate 'whole, free, or a partition such as /dev/sda3')" ;;
    hostname) check_value hostname '[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?' \
        "$(translate 'letters, digits and hyphens')" ;;
    user)
        check_value user '[a-z_][a-z0-9_-]{0,31}' "$(translate 'small letters, digits, hyphens')"
        [ "$answer_user" != root ] || refuse "$(translate 'user: root exists already')" \
            "$(translate 'Set root_password.')"
        ;;
    full_name) check_value full_name '[^:,]{1,80}' "$(translate 'a name without colon and comma')" ;;
    encrypt) check_value encrypt 'yes|no' "$(translate 'yes or no')" ;;
    password_hash | root_password_hash)
        # shellcheck disable=SC2016 # a sign of hashes
        check_value "$1" '\$[a-z0-9]+\$[^:[:space:]]+' \
            "$(translate 'a hash as in crypt(5), which begins with %s' '$y$')"
        ;;
    language)
        check_value language '[A-Za-z_]+(\.[A-Za-z0-9-]+)?(@[a-z]+)?' \
            "$(translate 'a locale such as de_DE.UTF-8')"
        [ -z "$answer_language" ] || has_locale "$answer_language" || refuse \
            "$(translate 'language: the system has no locale %s' "$answer_language")" \
            "$(translate 'Add it to system.languages of the image.')"
        ;;
    keyboard) check_value keyboard '[a-z]+(:[a-z0-9_-]+)?' \
        "$(translate 'a layout such as de or de:nodeadkeys')" ;;
    timezone)
        check_value timezone '[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*' \
            "$(translate 'a zone such as Europe/Berlin')"
        [ -z "$answer_timezone" ] || [ -f "$source/usr/share/zoneinfo/$answer_timezone" ] ||
            refuse "$(translate 'timezone: the system has no zone %s' "$answer_timezone")"
        ;;
    boot_options) check_value boot_options '[A-Za-z0-9._,:/=+@% -]*' \
        "$(translate 'options of the kernel without quotes')" ;;
    esac
}

# The names of a locale differ in case and hyphens.
has_locale() {
    chroot "$source" locale -a 2>/dev/null | tr -d - | tr '[:upper:]' '[:lower:]' |
        grep -qxF -- "$(printf %s "$1" | tr -d - | tr '[:upper:]' '[:lower:]')"
}

check_answers() {
    [ -n "$answer_disk" ] || refuse "$(translate 'no disk named')" \
        "$(translate 'Name it, or add "disk = /dev/..." to the answers.')"
    for each_key in $answer_keys; do check_answer "$each_key"; done
    if [ -n "$answer_user" ]; then
        [ -n "$answer_password$answer_password_hash" ] ||
            refuse "$(translate 'user %s: no password' "$answer_user")" \
                "$(translate 'Set password or password_hash.')"
    elif [ -n "$answer_password$answer_password_hash" ]; then
        refuse "$(translate 'password: for no user')" "$(translate 'Set user.')"
    fi
    if [ "$answer_encrypt" = yes ]; then
        [ -n "$answer_passphrase" ] ||
            refuse "$(translate 'encrypt: no passphrase')" "$(translate 'Set passphrase.')"
        can_encrypt || refuse "$(translate 'encrypt: the system has no cryptsetup')" \
            "$(translate 'Add cryptsetup-initramfs to system.packages of the image.')"
    fi
}

can_encrypt() {
    command -v cryptsetup >/dev/null && [ -e "$source/usr/share/initramfs-tools/hooks/cryptroot" ]
}
