#!/bin/bash
# Dracut module: install this folder as /usr/lib/dracut/modules.d/91bootprof-readahead.
# Program, start-readahead, unit and readahead.list are expected in /usr/lib/bootprof.

check() {
	[[ -e /usr/lib/bootprof/readahead.list ]] && return 0
	return 255
}

depends() {
	echo dmsquash-live
}

install() {
	inst_multiple /usr/lib/bootprof/{bootprof-readahead,start-readahead,bootprof-readahead.service,readahead.list} cp ln mkdir mount
	# shellcheck disable=SC2154  # dracut sets moddir
	inst_hook pre-mount 01 "$moddir/start-live.sh"
}
