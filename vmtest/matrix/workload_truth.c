// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* workload_truth.c - the workload's own list of its accesses */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workload.h"

FILE *truth;
const char *folder, *named, *part;

void check(int condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "workload: %s: %s: %s\n", part ? part : "", what, strerror(errno));
		exit(1);
	}
}

static void write_escaped(FILE *file, const char *text)
{
	for (; *text; text++) {
		if (strchr("\t\n\r\\", *text))
			fprintf(file, "\\%03o", *text);
		else
			fputc(*text, file);
	}
}

void expect_of(pid_t pid, const char *kind, const char *path)
{
	fprintf(truth, "%d\t%s\t%s\t", pid, part, kind);
	write_escaped(truth, named);
	fprintf(truth, "/%s/", part);
	write_escaped(truth, path);
	fputc('\n', truth);
	check(!fflush(truth), "truth");
}

void expect(const char *path)
{
	expect_of(getpid(), "open", path);
}

void expect_never(const char *path)
{
	expect_of(getpid(), "never", path);
}
