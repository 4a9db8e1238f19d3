// SPDX-License-Identifier: GPL-2.0
/* kernel_files.c - the kernel's own file systems, without a place in the tree */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

/*
 * Open the root of a file system of the kernel. It is mounted nowhere, so nobody stumbles over it,
 * and no switch of the root takes it away. Without the right to do so, take the usual place.
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

/* Read a small file as a string. Returns its length, or a negative error number. */
ssize_t read_text(int directory, const char *name, char *text, size_t size)
{
	int file = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (file < 0)
		return -errno;
	length = read(file, text, size - 1);
	if (length < 0)
		length = -errno;
	close(file);
	text[length > 0 ? length : 0] = '\0';
	return length;
}
