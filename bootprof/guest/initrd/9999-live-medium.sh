#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# live-boot asks blkid for the type and identifier of each device, and blkid also reads the end of the
# device. These functions ask udev, which keeps in memory what 60-live-medium.rules has found. If udev
# has not yet processed a new device, they call live_medium_id as udev would.

# Print a property of a live medium, if it has it. Fails for any other device.
live_medium_property ()
{
	_properties="$(udevadm info --query=property "$1" 2>/dev/null)"
	case "${_properties}" in
		*ID_LIVE_MEDIUM=1*)
			;;

		*)
			_properties="$(/usr/lib/udev/live_medium_id "$1" 2>/dev/null)" || return 1
			;;
	esac
	echo "${_properties}" | sed -n "s/^ID_FS_$2=//p"
}

get_fstype ()
{
	live_medium_property "$1" TYPE || command blkid -s TYPE -o value "$1" 2>/dev/null
}

blkid ()
{
	if [ "$#" -eq 5 ] && [ "$1 $2 $3" = "-o value -s" ]
	then
		live_medium_property "$5" "$4" || command blkid "$@"
	else
		command blkid "$@"
	fi
}
