#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Dracut module: install this folder as /usr/lib/dracut/modules.d/91bootprof-readahead. It expects the
# program, start-readahead, the unit and readahead.list in /usr/lib/bootprof.

check() {
	[[ -e /usr/lib/bootprof/readahead.list ]] && return 0
	return 255
}

depends() {
	echo dmsquash-live
}

install() {
	inst_multiple /usr/lib/bootprof/{bootprof-readahead,start-readahead,bootprof-readahead.service,readahead.list} cp ln mkdir mount
	# shellcheck disable=SC2154 # set by dracut
	inst_hook pre-mount 01 "$moddir/start-live.sh"
}
