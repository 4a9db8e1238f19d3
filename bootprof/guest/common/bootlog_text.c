// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* bootlog_text.c - the text of a bootlog in events format: docs/bootlog.md */
#include "bootlog_text.h"

#include <string.h>

/**
 * bootlog_escape() - write a text field
 * @target: where to; has BOOTLOG_ESCAPE_BYTES for each byte of @text
 * @text: the text, of any bytes but NUL
 * @length: its length
 *
 * Tab, newline, carriage return and backslash become a backslash and three octal digits.
 *
 * Return: bytes written.
 */
size_t bootlog_escape(char *target, const char *text, size_t length)
{
	const char *start = target;
	size_t i;

	for (i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)text[i];

		if (byte != '\t' && byte != '\n' && byte != '\r' && byte != '\\') {
			*target++ = text[i];
			continue;
		}
		*target++ = '\\';
		*target++ = (char)('0' + (byte >> 6));
		*target++ = (char)('0' + (byte >> 3 & 7));
		*target++ = (char)('0' + (byte & 7));
	}
	return (size_t)(target - start);
}

/**
 * cut_initramfs_root() - remove the folder where the initramfs mounts the root
 * @path: a path as a process of the initramfs sees it; set to the one in the booted system
 * @length: its length; likewise
 * @root: that folder, or ""
 *
 * Return: whether the path is below that folder.
 */
bool cut_initramfs_root(const char **path, size_t *length, const char *root)
{
	size_t prefix = strlen(root);

	if (!prefix || *length <= prefix || (*path)[prefix] != '/' || memcmp(*path, root, prefix))
		return false;
	*path += prefix;
	*length -= prefix;
	return true;
}
