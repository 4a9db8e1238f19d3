// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* kernel_files.c - the kernel's own file systems, without a mount point */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

/*
 * Open the root of a file system of the kernel. It is mounted nowhere, so that no process finds it
 * and a change of the root does not remove it. Without the privilege to do so, open the usual path.
 */
int kernel_file_system(const char *type, const char *usual_path)
{
	int directory = -1;
	int context = fsopen(type, FSOPEN_CLOEXEC);

	if (context >= 0) {
		if (!fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
			directory = fsmount(context, FSMOUNT_CLOEXEC, 0);
		close(context);
	}
	if (directory < 0)
		directory = open(usual_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return directory;
}

int64_t boot_time_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}
