#!/bin/sh
# live-boot asks blkid for type and identifier of each device, and blkid looks at the device's end,
# too. What udev has found out already (60-live-medium.rules) is in memory: ask udev. It may not
# have come to a device that was set up a moment ago: then look at the device's start as it would.

# A property of a live medium, if it has that one; fails for a device that is none.
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
