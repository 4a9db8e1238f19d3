#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# live-boot mounts an NFS root with klibc's nfsmount, which knows version 3 alone and tries for a
# minute. This uses the kernel's own mount, for both versions, without locks, which need further
# services; and says which server does not answer.

# shellcheck disable=SC2154 # mountpoint is live-boot's.
do_nfsmount ()
{
	modprobe -q nfs
	_server="${NFSROOT%%:*}"
	_version=3
	read -r _line < /proc/cmdline
	for _word in ${_line}
	do
		case "${_word}" in
			bootprof.nfs=*) _version="${_word#*=}" ;;
		esac
	done
	_options="ro,nolock,addr=${_server},vers=${_version}"
	if [ "${_version}" = 3 ]
	then
		modprobe -q nfsv3
		_options="${_options},proto=tcp,mountproto=tcp"
	else
		modprobe -q nfsv4
	fi
	_options="${_options}${NFSOPTS:+,${NFSOPTS}}"
	log_begin_msg "Mounting ${NFSROOT} by NFS ${_version}"
	_tries=0
	while [ "${_tries}" -lt 10 ]
	do
		if /bin/mount -i -t nfs -o "${_options},soft,timeo=30,retrans=1" "${NFSROOT}" "${mountpoint}"
		then
			# Once it is there, a root waits for its server.
			umount "${mountpoint}"
			/bin/mount -i -t nfs -o "${_options},hard" "${NFSROOT}" "${mountpoint}" && return 0
		fi
		sleep 1
		_tries=$((_tries + 1))
	done
	echo "live: the NFS server ${_server} does not answer, or does not export ${NFSROOT#*:}" > /dev/console
	return 1
}
