#!/bin/sh
# live-boot asks for the file system of each device with blkid, which looks for RAID superblocks at
# its end. udev has just found that out (60-live-medium.rules) and keeps it in memory: ask udev.

get_fstype ()
{
	_fstype="$(udevadm info --query=property --property=ID_FS_TYPE --value "$1" 2>/dev/null)"
	if [ -n "${_fstype}" ]
	then
		echo "${_fstype}"
	else
		blkid -s TYPE -o value "$1" 2>/dev/null
	fi
}
