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
    { [ -f "$1" ] && [ -r "$1" ]; } || refuse "$1: no file that can be read"
    line_number=0
    while IFS= read -r line || [ -n "$line" ]; do
        line_number=$((line_number + 1))
        line=$(printf %s "$line" | tr -d '\r')
        case $line in '' | \#*) continue ;; esac
        case $line in *=*) ;; *) refuse "$1, line $line_number: no \"key = value\"" ;; esac
        key=$(printf %s "${line%%=*}" | tr -d ' \t')
        value=$(printf %s "${line#*=}" | sed 's/^[ \t]*//; s/[ \t]*$//')
        # shellcheck disable=SC2086 # one word a line
        printf '%s\n' $answer_keys | grep -qxF -- "$key" || refuse \
            "$1, line $line_number: no such key: $(printf %s "$key" | printable 30)" \
            "keys: $(printf %s "$answer_keys" | tr '\n' ' ')"
        [ "$(printf %s "$value" | wc -c)" -le 1000 ] ||
            refuse "$1, line $line_number: longer than 1000 bytes"
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
        refuse "$1: expected $3, found: $(printf %s "$value" | printable 40)"
}

check_answers() {
    [ -n "$answer_disk" ] || refuse "no disk named" "name it, or add \"disk = /dev/...\" to the answers"
    check_value place 'whole|free|/dev/[A-Za-z0-9/_.:-]+' 'whole, free, or a partition such as /dev/sda3'
    check_value hostname '[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?' 'letters, digits and hyphens'
    check_value user '[a-z_][a-z0-9_-]{0,31}' 'small letters, digits, hyphens'
    [ "$answer_user" != root ] || refuse "user: root exists already" "set root_password"
    check_value full_name '[^:,]{1,80}' 'a name without colon and comma'
    check_value encrypt 'yes|no' 'yes or no'
    # shellcheck disable=SC2016 # a sign of hashes
    hash_example='a hash as crypt(5) describes it, such as $y$...'
    hash='\$[a-z0-9]+\$[^:[:space:]]+'
    check_value password_hash "$hash" "$hash_example"
    check_value root_password_hash "$hash" "$hash_example"
    check_value language '[A-Za-z_]+(\.[A-Za-z0-9-]+)?(@[a-z]+)?' 'a locale such as de_DE.UTF-8'
    check_value keyboard '[a-z]+(:[a-z0-9_-]+)?' 'a layout such as de or de:nodeadkeys'
    check_value timezone '[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*' 'a zone such as Europe/Berlin'
    check_value boot_options '[A-Za-z0-9._,:/=+@% -]*' 'options of the kernel without quotes'
    [ -z "$answer_timezone" ] || [ -f "$source/usr/share/zoneinfo/$answer_timezone" ] ||
        refuse "timezone: the system has no zone $answer_timezone"
    if [ -n "$answer_language" ]; then
        chroot "$source" locale -a 2>/dev/null | tr -d - | tr '[:upper:]' '[:lower:]' |
            grep -qxF -- "$(printf %s "$answer_language" | tr -d - | tr '[:upper:]' '[:lower:]')" ||
            refuse "language: the system has no locale $answer_language" \
                "add it to system.languages of the image"
    fi
    if [ -n "$answer_user" ]; then
        [ -n "$answer_password$answer_password_hash" ] ||
            refuse "user $answer_user: no password" "set password or password_hash"
    elif [ -n "$answer_password$answer_password_hash" ]; then
        refuse "password: for no user" "set user"
    fi
    if [ "$answer_encrypt" = yes ]; then
        [ -n "$answer_passphrase" ] || refuse "encrypt: no passphrase" "set passphrase"
        { command -v cryptsetup >/dev/null &&
            [ -e "$source/usr/share/initramfs-tools/hooks/cryptroot" ]; } || refuse "encrypt: the system has no cryptsetup" \
                "add cryptsetup-initramfs to system.packages of the image"
    fi
}

# ask VARIABLE TEXT: an empty line keeps the answer that is there.
ask() {
    eval "value=\$answer_$1"
    printf '%s%s: ' "$2" "${value:+ [$value]}"
    read -r typed || fail "nothing was written"
    [ -z "$typed" ] || eval "answer_$1=\$typed"
}

# ask_secret VARIABLE TEXT: twice, without showing it.
ask_secret() {
    while :; do
        stty -echo 2>/dev/null || :
        printf '%s: ' "$2"
        read -r typed || { stty echo; fail "nothing was written"; }
        printf '\nThe same again: '
        read -r again || again=
        stty echo 2>/dev/null || :
        printf '\n'
        if [ -n "$typed" ] && [ "$typed" = "$again" ]; then break; fi
        echo "Empty, or not the same. Try again."
    done
    eval "answer_$1=\$typed"
}

ask_all() {
    default_all
    list_targets
    [ -n "$answer_disk" ] || answer_disk=$(sed -n 1p "$scratch/targets")
    ask disk "Install to which disk"
    echo "Place: whole (everything on the disk is lost), free (beside other systems), or a partition"
    ask place "Place"
    ask hostname "Host name"
    : "${answer_user:=user}"
    ask user "User"
    [ -n "$answer_password_hash" ] || ask_secret password "Password of $answer_user"
    if command -v cryptsetup >/dev/null; then
        ask encrypt "Encrypt the system (yes or no)"
        [ "$answer_encrypt" != yes ] || ask_secret passphrase "Passphrase, typed at each start"
    fi
}

# Disks that are not in use, removable or not; their names go to $scratch/targets.
list_targets() {
    : >"$scratch/targets"
    for sys in "$root/sys/block/"*; do
        disk_name=$(basename "$sys")
        case $disk_name in sd* | mmcblk*[0-9] | nvme* | vd* | xvd*) ;; *) continue ;; esac
        [ -z "$(why_not "$disk_name")" ] || continue
        [ -s "$scratch/targets" ] || printf '%-14s %9s  %-24s  %s\n' DEVICE SIZE MODEL CONTENT
        printf '%-14s %9s  %-24s  %s\n' "/dev/$disk_name" "$(size "$(disk_bytes "$disk_name")")" \
            "$(model_of "$disk_name")" "$(content_of "$disk_name")"
        echo "/dev/$disk_name" >>"$scratch/targets"
    done
    [ -s "$scratch/targets" ] || fail "there is no disk that is not in use" "attach one and try again"
}
