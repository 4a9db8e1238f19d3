// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* files.c - small files of the kernel, and whole writes */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/**
 * read_line() - read the first line of a small file
 * @directory: what @name is relative to, or AT_FDCWD
 * @name: the file
 * @text: set to the line without its newline; to "" on an error
 * @size: bytes of @text; a longer line is cut
 *
 * Return: its length, or a negative error number.
 */
ssize_t read_line(int directory, const char *name, char *text, size_t size)
{
	int file = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	text[0] = '\0';
	if (file < 0)
		return -errno;
	length = read(file, text, size - 1);
	if (length < 0)
		length = -errno;
	close(file);
	text[length > 0 ? length : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return length < 0 ? length : (ssize_t)strlen(text);
}

/* Write all of some data. Returns 0 or a negative error number. */
int write_whole(int file, const char *data, size_t size_bytes)
{
	while (size_bytes) {
		ssize_t written = write(file, data, size_bytes);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written ? -errno : -EIO;
		data += written;
		size_bytes -= (size_t)written;
	}
	return 0;
}
