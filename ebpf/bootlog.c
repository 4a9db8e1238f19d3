// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootlog.c - writes events as a bootlog in events format (docs/bootlog.md)
 *
 * Events arrive in the order of the processors' buffers and are written in the order of time. Pages
 * that a process read one after another, with nothing in between, become one event.
 *
 * The page cache knows inodes and no names: its events have one of the file's names within its file
 * system. If the same device and inode are opened in the same log, the name of the last open before
 * is written instead or, before the first open, the name of the first one after.
 *
 * "#lost" counts each event that is known to be missing, and each run of a program that the kernel
 * skipped. A skipped run may or may not have been an event: "#skipped" is the number of these, and
 * "#lost" the upper limit of what is missing.
 */
#define _GNU_SOURCE
#include "bootlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bootlog_text.h"

#define PATH_BUFFER_BYTES	(2 * (BOOTPROF_PATH_LIMIT + 2))
#define MINOR_BITS		20

static const char * const operation_names[BOOTPROF_OPERATIONS] = {
	[BOOTPROF_OPEN] = "open",   [BOOTPROF_EXEC] = "exec",	[BOOTPROF_MAP] = "map",
	[BOOTPROF_READ] = "read",   [BOOTPROF_FAULT] = "fault", [BOOTPROF_CACHE] = "cache",
};

/* Time of an event, and its offset in the store. */
struct place {
	uint64_t time_ns;
	size_t offset;
};

/* Name of an inode: offset of the event that has it, 0 if the entry is free. */
struct name {
	uint64_t inode;
	uint32_t device;
	size_t offset;
};

struct name_table {
	struct name *names;
	size_t mask;
};

static int compare_places(const void *left, const void *right)
{
	const struct place *a = left, *b = right;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static bool names_inode(const struct bootprof_event *event)
{
	return !(event->flags & (BOOTPROF_PATH_IN_FILE_SYSTEM | BOOTPROF_NAME_GIVEN));
}

static struct name *find_name(const struct name_table *table, uint32_t device, uint64_t inode)
{
	/* Fibonacci hashing, the constant is 2^64 / golden ratio. */
	size_t slot = ((inode ^ (uint64_t)device << 40) * 0x9e3779b97f4a7c15u) >> 20;

	for (;; slot++) {
		struct name *name = &table->names[slot & table->mask];

		if (!name->offset || (name->inode == inode && name->device == device))
			return name;
	}
}

static void set_name(struct name *name, const struct bootprof_event *event, size_t offset)
{
	name->inode = event->inode;
	name->device = event->device;
	name->offset = offset;
}

/* Reverse the components in @text, which start with the last one: /a/b/c. Returns the length. */
static size_t compose(const char *text, size_t text_bytes, char *path)
{
	size_t length = 0;
	size_t end = text_bytes;

	while (end) {
		size_t start = end - 1;

		/* text[end - 1] is the NUL of this component. */
		while (start && text[start - 1])
			start--;
		path[length++] = '/';
		memcpy(path + length, text + start, end - 1 - start);
		length += end - 1 - start;
		end = start;
	}
	if (!length)
		path[length++] = '/';
	return length;
}

/* Remove "//", "/./" and "/../" from an absolute path, in place. Returns the length. */
static size_t normalize(char *path, size_t length)
{
	size_t from = 0, to = 0;

	while (from < length) {
		size_t end;

		while (from < length && path[from] == '/')
			from++;
		end = from;
		while (end < length && path[end] != '/')
			end++;
		if (end - from == 2 && !memcmp(path + from, "..", 2)) {
			while (to && path[--to] != '/')
				;
		} else if (end > from && !(end - from == 1 && path[from] == '.')) {
			path[to++] = '/';
			memmove(path + to, path + from, end - from);
			to += end - from;
		}
		from = end;
	}
	if (!to)
		path[to++] = '/';
	return to;
}

/* The path of an event; @path has PATH_BUFFER_BYTES. Returns the length. */
static size_t path_of(const struct bootprof_event *event, char *path)
{
	size_t length = compose(event->text, event->path_bytes, path);
	const char *name = event->text + event->path_bytes;

	if (event->flags & BOOTPROF_NAME_GIVEN) {
		size_t name_length = strnlen(name, event->name_bytes);

		if (name_length && name[0] == '/')
			length = 0;
		else
			path[length++] = '/';
		memcpy(path + length, name, name_length);
		length = normalize(path, length + name_length);
	}
	return length;
}

static void write_escaped(FILE *stream, const char *text, size_t length)
{
	char escaped[BOOTLOG_ESCAPE_BYTES * PATH_BUFFER_BYTES];

	fwrite_unlocked(escaped, 1, bootlog_escape(escaped, text, length), stream);
}

static void write_event(FILE *stream, const struct bootprof_event *event, uint64_t length_bytes,
			const struct bootprof_event *named, const char *initramfs_root)
{
	const char *file_system = event->file_system;
	char buffer[PATH_BUFFER_BYTES];
	size_t length = path_of(named, buffer);
	const char *path = buffer;

	if (named->flags & BOOTPROF_IN_INITRAMFS && strcmp(file_system, "rootfs") &&
	    !cut_initramfs_root(&path, &length, initramfs_root) &&
	    event->flags & BOOTPROF_NAME_GIVEN && initramfs_root[0])
		file_system = "rootfs";
	fprintf(stream, "%llu\t%u\t", event->time_ns, event->process);
	write_escaped(stream, event->command, strnlen(event->command, sizeof(event->command)));
	fprintf(stream, "\t%s\t%llu\t%llu\t%u:%u\t%llu\t", operation_names[event->operation],
		event->offset_bytes, (unsigned long long)length_bytes, event->device >> MINOR_BITS,
		event->device & ((1 << MINOR_BITS) - 1), event->inode);
	write_escaped(stream, file_system, strnlen(file_system, sizeof(event->file_system)));
	putc_unlocked('\t', stream);
	write_escaped(stream, path, length);
	putc_unlocked('\n', stream);
}

/* Whether an event of the page cache starts where another, @length_bytes long, ends. */
static bool continues(const struct bootprof_event *event, uint64_t length_bytes,
		      const struct bootprof_event *next)
{
	return event->operation == BOOTPROF_CACHE && next->operation == BOOTPROF_CACHE &&
	       next->inode == event->inode && next->device == event->device &&
	       next->process == event->process &&
	       next->offset_bytes == event->offset_bytes + length_bytes;
}

static void write_events(FILE *stream, const struct store *store, const struct place *places,
			 size_t count, const struct name_table *table, const char *initramfs_root)
{
	size_t i;

	for (i = 0; i < count; i++) {
		const struct bootprof_event *event = store_at(store, places[i].offset);
		const struct bootprof_event *named = event;
		uint64_t length_bytes = event->length_bytes;

		if (names_inode(event)) {
			set_name(find_name(table, event->device, event->inode), event,
				 places[i].offset);
		} else if (event->flags & BOOTPROF_PATH_IN_FILE_SYSTEM) {
			struct name *name = find_name(table, event->device, event->inode);

			if (name->offset)
				named = store_at(store, name->offset);
			else if (!event->path_bytes)
				continue;	/* Deleted, so not part of an image. */
		}
		while (i + 1 < count) {
			const struct bootprof_event *next = store_at(store, places[i + 1].offset);

			if (!continues(event, length_bytes, next))
				break;
			length_bytes += next->length_bytes;
			i++;
		}
		write_event(stream, event, length_bytes, named, initramfs_root);
	}
}

/**
 * write_bootlog() - write all events
 * @stream: output
 * @store: the events
 * @initramfs_root: folder where the initramfs mounts the root; removed from early paths
 *
 * Return: 0 or a negative error number.
 */
int write_bootlog(FILE *stream, const struct store *store, const char *initramfs_root)
{
	struct name_table table = { .mask = 1 };
	const struct bootprof_event *event;
	size_t count = 0, offset = 0;
	struct place *places;
	int error = 0;

	while (table.mask < store->header->events * 2)
		table.mask *= 2;
	places = calloc(store->header->events + 1, sizeof(*places));
	table.names = calloc(table.mask, sizeof(*table.names));
	table.mask--;
	if (!places || !table.names) {
		error = -ENOMEM;
		goto out;
	}
	while (count < store->header->events && (event = store_next(store, &offset))) {
		places[count].time_ns = event->time_ns;
		places[count++].offset = offset;
	}
	qsort(places, count, sizeof(*places), compare_places);
	for (size_t i = count; i-- > 0;) {
		event = store_at(store, places[i].offset);
		if (names_inode(event))
			set_name(find_name(&table, event->device, event->inode), event,
				 places[i].offset);
	}
	fprintf(stream, BOOTLOG_HEADER BOOTLOG_LOST, store->header->backend,
		store->header->kernel, (unsigned long long)store_lost(store));
	if (store->header->skipped_runs)
		fprintf(stream, "#skipped: %llu\n",
			(unsigned long long)store->header->skipped_runs);
	write_events(stream, store, places, count, &table, initramfs_root);
	if (fflush(stream) || ferror(stream))
		error = errno ? -errno : -EIO;
out:
	free(table.names);
	free(places);
	return error;
}
