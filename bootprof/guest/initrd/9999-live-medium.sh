#!/bin/sh
# live-boot asks blkid for type and identifier of each device, and blkid looks at the device's end,
# too. What udev has found out already (60-live-medium.rules) is in memory: ask udev.

# The property of a live medium; fails for a device that is none.
live_medium_property ()
{
	_properties="$(udevadm info --query=property "$1" 2>/dev/null)"
	case "${_properties}" in
		*ID_LIVE_MEDIUM=1*)
			echo "${_properties}" | sed -n "s/^ID_FS_$2=//p"
			;;

		*)
			return 1
			;;
	esac
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
