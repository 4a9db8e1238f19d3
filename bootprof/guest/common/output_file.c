// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * output_file.c - an output file that is complete or absent
 *
 * A regular file is written under another name beside it and renamed at the end, so that a program
 * that is killed leaves FILE.partial with everything up to then, and so does a full disk. Devices,
 * pipes and sockets stay what they are and are written to; block devices are refused.
 */
#define _GNU_SOURCE
#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages.h"

#define MODE	0644

static int open_regular(struct output_file *output)
{
	if (asprintf(&output->partial, "%s.partial", output->name) < 0) {
		output->partial = NULL;
		return -ENOMEM;
	}
	output->folder = open(".", O_PATH | O_CLOEXEC);
	output->file = openat(output->folder, output->partial,
			      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, MODE);
	return output->file < 0 ? -errno : 0;
}

/**
 * output_file_open() - open an output file
 * @output: set
 * @name: its name, or "-" for standard output; stays in use
 *
 * Return: 0, or a negative error number after an error message.
 */
int output_file_open(struct output_file *output, const char *name)
{
	struct stat status;
	int error;

	*output = (struct output_file){ .file = STDOUT_FILENO, .name = name, .folder = -1 };
	if (!strcmp(name, "-")) {
		output->name = "standard output";
		return 0;
	}
	error = stat(name, &status);
	if (!error && S_ISBLK(status.st_mode)) {
		complain("name a file", "%s: a block device is not overwritten", name);
		return -EINVAL;
	}
	if (error || S_ISREG(status.st_mode)) {
		error = open_regular(output);
	} else {
		output->file = open(name, O_WRONLY | O_CLOEXEC);
		error = output->file < 0 ? -errno : 0;
	}
	if (error)
		complain("", "%s: %s", output->partial ? output->partial : name, strerror(-error));
	return error;
}

static void release(struct output_file *output)
{
	if (output->folder >= 0)
		close(output->folder);
	free(output->partial);
	*output = (struct output_file){ .file = -1, .folder = -1 };
}

/**
 * output_file_finish() - close an output file and give it its name
 * @output: the file
 * @error: 0, or the negative error number that ended the writing; then it keeps its other name
 *
 * Return: 0, or a negative error number after an error message.
 */
int output_file_finish(struct output_file *output, int error)
{
	char hint[256] = "";

	if (output->file != STDOUT_FILENO && close(output->file) && !error)
		error = -errno;
	if (output->partial && !error &&
	    renameat(output->folder, output->partial, output->folder, output->name))
		error = -errno;
	if (error && output->partial)
		snprintf(hint, sizeof(hint), "what could be written is in %s", output->partial);
	if (error)
		complain(hint, "%s: %s", output->name, strerror(-error));
	release(output);
	return error;
}

/* Remove what was written so far: there is nothing to keep. */
void output_file_discard(struct output_file *output)
{
	if (output->partial)
		unlinkat(output->folder, output->partial, 0);
	release(output);
}
