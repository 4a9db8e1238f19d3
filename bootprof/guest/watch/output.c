// SPDX-License-Identifier: GPL-2.0
/*
 * output.c - where all that was recorded goes
 *
 * To a file, it goes as it comes, under the name FILE.partial until the end: a recorder that is
 * killed leaves a log that can be read, and a disk that is full keeps what fits. To standard
 * output, all goes at the end, because whoever holds the other end of a pipe need not read before;
 * until then it is kept in memory, as much as was allowed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch.h"

/* Longest line: a path of which each byte is escaped, and the rest. */
#define LINE_BYTES	(4 * 4096 + 1024)
/* A file is written to at the latest when so much waits. */
#define FLUSH_BYTES	(1 << 18)

static struct {
	int file;
	/* The working directory that the name is relative to: inotify goes to another. */
	int folder;
	bool in_memory;
	char *name, *partial;
	char *buffer;
	size_t used, capacity, memory_bytes;
	uint64_t events, limit, lost;
	int error;
} output = { .file = -1, .folder = -1 };

void output_open(const char *name, size_t memory_bytes, uint64_t limit)
{
	output.memory_bytes = memory_bytes;
	output.limit = limit;
	output.in_memory = !strcmp(name, "-");
	if (output.in_memory) {
		output.file = STDOUT_FILENO;
		return;
	}
	output.name = strdup(name);
	if (!output.name || asprintf(&output.partial, "%s.partial", name) < 0)
		fail(1, "", "memory: %s", strerror(errno));
	output.folder = open(".", O_PATH | O_CLOEXEC);
	output.file = openat(output.folder, output.partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			     0644);
	if (output.file < 0)
		fail(1, "", "%s: %s", output.partial, strerror(errno));
}

/* Nothing was recorded: leave nothing behind. */
void output_discard(void)
{
	if (output.partial)
		unlinkat(output.folder, output.partial, 0);
}

static void write_buffer(void)
{
	size_t done = 0;

	while (!output.error && done < output.used) {
		ssize_t written = write(output.file, output.buffer + done, output.used - done);

		if (written > 0)
			done += (size_t)written;
		else if (written == 0 || errno != EINTR)
			output.error = written ? errno : EIO;
	}
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

/* Add text that is no event. Returns whether there was room. */
bool output_text(const char *text, size_t length)
{
	if (output.error || !make_room(length))
		return false;
	memcpy(output.buffer + output.used, text, length);
	output.used += length;
	return true;
}

/* Add a "#key: value" line. It is short, and the end of a log must have its room. */
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

/* The escapes of a rich bootlog: docs/bootlog.md. */
static size_t escape(char *target, const char *text)
{
	char *start = target;

	for (; *text; text++) {
		if (*text == '\t' || *text == '\n' || *text == '\r' || *text == '\\')
			target += sprintf(target, "\\%03o", *text);
		else
			*target++ = *text;
	}
	return (size_t)(target - start);
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
	length += escape(line + length, access->command);
	length += (size_t)sprintf(line + length, "\t%s\t0\t0\t%u:%u\t%" PRIu64 "\t",
				  access->operation, access->major, access->minor, access->inode);
	length += escape(line + length, access->file_system);
	line[length++] = '\t';
	length += escape(line + length, access->path);
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

/* Write what has come since the last time. Returns 0, or the error that ends all writing. */
int output_flush(void)
{
	if (!output.in_memory)
		write_buffer();
	return output.error;
}

/* Write the end, and give the file its name. Returns the exit status. */
int output_close(void)
{
	output_line("#lost: %" PRIu64 "\n", output.lost);
	write_buffer();
	if (output.lost)
		warn("%" PRIu64 " events are missing", output.lost);
	if (!output.in_memory) {
		if (close(output.file) && !output.error)
			output.error = errno;
		if (!output.error &&
		    renameat(output.folder, output.partial, output.folder, output.name))
			output.error = errno;
	}
	if (!output.error)
		return 0;
	fprintf(stderr, "bootprof-watch: error: %s: %s\n",
		output.in_memory ? "standard output" : output.name, strerror(output.error));
	if (!output.in_memory)
		fprintf(stderr, "bootprof-watch: hint: as much as could be written is in %s\n",
			output.partial);
	return 1;
}
