/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/*
 * recorders.h - the backends that the agent can start
 *
 * One line each, in this form, which a test reads and compares with bootprof/backends:
 *
 *	R(NAME, AUTO, PROGRAM, ARGUMENTS, FILES)
 *
 * NAME is the backend. AUTO is its turn for the backend "auto", from 1 on; 0: never. PROGRAM is the
 * file in /bootprof, or "" for the kernel modules that /bootprof/modules lists. ARGUMENTS is what
 * the program gets beside "--output - --ready-fd 3". FILES are the files that a harvest sends: of a
 * program, the one that it writes; of the kernel module, those in debugfs. Separator: a space.
 */
#ifndef BOOTPROF_RECORDERS_H
#define BOOTPROF_RECORDERS_H

#define RECORDERS(R)									\
	R("kmod", 1, "", "", "stats bootlog.list events")				\
	R("ebpf", 2, "bootprof-trace", "", "ebpf.events")				\
	R("fanotify", 3, "bootprof-watch", "--backend fanotify", "fanotify.events")	\
	R("inotify", 4, "bootprof-watch", "--backend inotify", "inotify.events")	\
	R("tracepoints", 0, "bootprof-watch", "--backend tracepoints", "tracepoints.log") \
	R("block_dump", 0, "bootprof-watch", "--backend block_dump", "block_dump.log")

#endif
