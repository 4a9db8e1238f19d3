// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* notes.c - what the agent reports: to the kernel's log, and to the host */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "files.h"

/* The line that answers the host first: the requested backends, and which of them have started. */
char status_text[LINE_SIZE];

/* The lines of agent.log. */
char log_text[2 * LINE_SIZE];

/* Write a line to the kernel's log. */
void say(const char *format, ...)
{
	static const char prefix[] = "<5>bootprof-agent: ";
	int log = openat(kernel.devtmpfs, "kmsg", O_WRONLY | O_CLOEXEC);
	char line[LINE_SIZE];
	size_t used = sizeof(prefix) - 1;
	va_list arguments;

	memcpy(line, prefix, used);
	va_start(arguments, format);
	vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
	va_end(arguments);
	strcat(line, "\n");
	if (log < 0)
		return;
	/* Not dprintf(), which writes nothing because the log has no position. */
	write_whole(log, line, strlen(line));
	close(log);
}

/* Add text to a buffer, as far as there is room. */
void append(char *buffer, size_t size, const char *format, ...)
{
	size_t used = strlen(buffer);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(buffer + used, size - used, format, arguments);
	va_end(arguments);
}

/* Report whether a backend has started, to the host and in the kernel's log. */
void note(const char *backend, const char *state, const char *reason)
{
	append(log_text, sizeof(log_text), "%s\t%s\t%s\n", backend, state, reason);
	append(status_text, sizeof(status_text), " %s=%s", state, backend);
	say("%s %s%s%s", backend, state, reason[0] ? ": " : "", reason);
}
