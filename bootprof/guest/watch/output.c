// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * output.c - writes what is recorded
 *
 * A file is written during the recording, under the name FILE.partial until the end: if the
 * recorder is killed or the disk is full, that file has everything up to then. Standard output is
 * written at the end, because the reader of a pipe may not read before; until then, the text is
 * kept in memory of limited size.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bootlog_text.h"
#include "files.h"
#include "messages.h"
#include "output_file.h"
#include "watch.h"

/* Longest line: a path in which each byte is escaped, and the other fields. */
#define LINE_BYTES	(BOOTLOG_ESCAPE_BYTES * 4096 + 1024)
/* A file is written when more than this is in memory. */
#define FLUSH_BYTES	(1 << 18)

static struct {
	struct output_file file;
	bool in_memory;
	char *buffer;
	size_t used, capacity, memory_bytes;
	uint64_t events, limit, lost;
	/* Negative error number that ended all writing. */
	int error;
} output;

/* Nothing was recorded: leave no file behind. */
static void discard(void)
{
	output_file_discard(&output.file);
}

void output_open(const char *name, size_t memory_bytes, uint64_t limit)
{
	output.memory_bytes = memory_bytes;
	output.limit = limit;
	output.in_memory = !strcmp(name, "-");
	if (output_file_open(&output.file, name))
		exit(1);
	at_failure(discard);
}

static void write_buffer(void)
{
	if (!output.error)
		output.error = write_whole(output.file.file, output.buffer, output.used);
	output.used = 0;
}

static bool make_room(size_t length)
{
	size_t capacity = output.capacity ? output.capacity : 1 << 16;
	char *larger;

	if (!output.in_memory && output.used > FLUSH_BYTES)
		write_buffer();
	if (output.used + length > output.memory_bytes)
		return false;
	while (capacity < output.used + length)
		capacity *= 2;
	if (capacity == output.capacity)
		return true;
	larger = realloc(output.buffer, capacity);
	if (!larger)
		return false;
	output.buffer = larger;
	output.capacity = capacity;
	return true;
}

/* Add text. Returns whether there was room. */
bool output_text(const char *text, size_t length)
{
	if (output.error || !make_room(length))
		return false;
	memcpy(output.buffer + output.used, text, length);
	output.used += length;
	return true;
}

/* Add a "#key: value" line, even if the memory is full: the end of a log consists of these. */
void output_line(const char *format, ...)
{
	char line[512];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (length > 0 && (size_t)length < sizeof(line)) {
		output.memory_bytes += (size_t)length;
		output_text(line, (size_t)length);
	}
}

void output_access(const struct access *access)
{
	static char line[LINE_BYTES];
	size_t length;

	if (output.limit && output.events >= output.limit) {
		output.lost++;
		return;
	}
	length = (size_t)sprintf(line, "%" PRId64 "\t%u\t", boot_time_ns(), access->process);
	length += bootlog_escape(line + length, access->command, strlen(access->command));
	length += (size_t)sprintf(line + length, "\t%s\t0\t0\t%u:%u\t%" PRIu64 "\t",
				  access->operation, access->major, access->minor, access->inode);
	length += bootlog_escape(line + length, access->file_system, strlen(access->file_system));
	line[length++] = '\t';
	length += bootlog_escape(line + length, access->path, strlen(access->path));
	line[length++] = '\n';
	if (output_text(line, length))
		output.events++;
	else
		output.lost++;
}

void output_lost(uint64_t events)
{
	output.lost += events;
}

/* Write new text to a file. Returns 0, or the error that ended all writing. */
int output_flush(void)
{
	if (!output.in_memory)
		write_buffer();
	return output.error;
}

/* Write the end, and give the file its name. Returns the exit status. */
int output_close(void)
{
	output_line(BOOTLOG_LOST, (unsigned long long)output.lost);
	write_buffer();
	if (output.lost)
		warn("%" PRIu64 " events are missing", output.lost);
	return output_file_finish(&output.file, output.error) ? 1 : 0;
}
