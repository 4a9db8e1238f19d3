// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* messages.c - messages of the guest programs on standard error, and their end */
#include "messages.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "numbers.h"

static void (*undo_at_failure)(void);

static void print_line(const char *kind, const char *format, va_list arguments)
{
	fprintf(stderr, "%s: %s: ", program_name, kind);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

static void print_error(const char *hint, const char *format, va_list arguments)
{
	print_line("error", format, arguments);
	if (hint[0])
		fprintf(stderr, "%s: hint: %s\n", program_name, hint);
}

/**
 * complain() - print an error and return
 * @hint: how to fix it, or ""
 * @format: what is wrong, without a newline
 */
void complain(const char *hint, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_error(hint, format, arguments);
	va_end(arguments);
}

void warn(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_line("warning", format, arguments);
	va_end(arguments);
}

/**
 * fail() - print an error and end the program
 * @status: exit status: 1 if it failed, 2 for wrong usage or input
 * @hint: how to fix it, or ""
 * @format: what is wrong, without a newline
 */
void fail(int status, const char *hint, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_error(hint, format, arguments);
	va_end(arguments);
	if (undo_at_failure)
		undo_at_failure();
	exit(status);
}

/* Call a function before fail() ends the program. */
void at_failure(void (*undo)(void))
{
	undo_at_failure = undo;
}

/* The value of a numeric option; ends the program if it is out of range. */
long parse_number(const char *option, const char *text, long smallest, long largest)
{
	uint64_t value;

	if (!is_number(text, &value) || value < (uint64_t)smallest || value > (uint64_t)largest)
		fail(2, "", "%s %s: not a number from %ld to %ld", option, text, smallest, largest);
	return (long)value;
}

/* Write "ready\n" to the descriptor of --ready-fd, and close it. */
void report_ready(int descriptor)
{
	if (write(descriptor, "ready\n", 6) < 0)
		warn("cannot report \"ready\" to descriptor %d: %s", descriptor, strerror(errno));
	close(descriptor);
}
