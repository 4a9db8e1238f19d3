// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * event_store.c - the recorded events, in memory of limited size or in a file
 *
 * One mapping of fixed size with one event after another. Memory is allocated as it is used. A
 * spool file is mapped in the same way, so that the events survive the process, however it ends.
 * Its space is reserved first, so that a full disk is an error at the start and not a signal later.
 */
#define _GNU_SOURCE
#include "event_store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define STORE_MAGIC	"bootprof-spool1"
#define ALIGNMENT	8

static size_t aligned(size_t size_bytes)
{
	return (size_bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

static size_t event_bytes(const struct bootprof_event *event)
{
	return sizeof(*event) + event->path_bytes + event->name_bytes;
}

int store_create(struct store *store, size_t size_bytes, const char *spool)
{
	int flags = spool ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	struct utsname names;
	int file = -1;
	int error = 0;

	if (spool) {
		file = open(spool, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (file < 0)
			return -errno;
		error = -posix_fallocate(file, 0, (off_t)size_bytes);
	}
	if (!error) {
		store->header = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, flags, file, 0);
		if (store->header == MAP_FAILED)
			error = -errno;
	}
	if (file >= 0)
		close(file);
	if (error) {
		if (spool)
			unlink(spool);
		return error;
	}
	store->size_bytes = size_bytes;
	memcpy(store->header->magic, STORE_MAGIC, sizeof(STORE_MAGIC));
	store->header->used_bytes = aligned(sizeof(*store->header));
	uname(&names);
	strncpy(store->header->kernel, names.release, sizeof(store->header->kernel) - 1);
	return 0;
}

int store_open(struct store *store, const char *spool)
{
	int file = open(spool, O_RDONLY | O_CLOEXEC);
	struct stat status;
	int error = 0;

	if (file < 0)
		return -errno;
	if (fstat(file, &status))
		error = -errno;
	else if ((size_t)status.st_size < sizeof(*store->header))
		error = -EINVAL;
	if (!error) {
		store->size_bytes = (size_t)status.st_size;
		/* Private and writable, to terminate the texts of the header below. */
		store->header = mmap(NULL, store->size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE,
				     file, 0);
		if (store->header == MAP_FAILED)
			error = -errno;
	}
	close(file);
	if (error)
		return error;
	if (memcmp(store->header->magic, STORE_MAGIC, sizeof(STORE_MAGIC)) ||
	    store->header->used_bytes > store->size_bytes ||
	    store->header->events > store->size_bytes / sizeof(struct bootprof_event)) {
		store_close(store);
		return -EINVAL;
	}
	store->header->backend[sizeof(store->header->backend) - 1] = '\0';
	store->header->kernel[sizeof(store->header->kernel) - 1] = '\0';
	return 0;
}

void store_close(struct store *store)
{
	munmap(store->header, store->size_bytes);
	store->header = NULL;
}

void store_append(struct store *store, const void *data, size_t size_bytes)
{
	struct store_header *header = store->header;
	/* A copy, because a record of the perf buffer is not aligned. */
	struct bootprof_event head;
	size_t length;

	if (size_bytes < sizeof(head))
		return;
	memcpy(&head, data, sizeof(head));
	/* A record of the perf buffer may be longer than its event. */
	if (event_bytes(&head) > size_bytes)
		return;
	length = aligned(event_bytes(&head));
	if (length > store->size_bytes - header->used_bytes) {
		header->no_room++;
		return;
	}
	memcpy((char *)header + header->used_bytes, data, event_bytes(&head));
	/* The spool of a killed process has whole events only. */
	__atomic_store_n(&header->used_bytes, header->used_bytes + length, __ATOMIC_RELEASE);
	header->events++;
}

uint64_t store_lost(const struct store *store)
{
	return store->header->no_room + store->header->lost_in_kernel +
	       store->header->skipped_runs;
}

const struct bootprof_event *store_at(const struct store *store, size_t offset)
{
	const struct bootprof_event *event = (const void *)((const char *)store->header + offset);
	size_t left;

	if (offset > store->header->used_bytes)
		return NULL;
	left = store->header->used_bytes - offset;
	/* A spool file may contain anything. The limits are those that bootlog.c relies on. */
	if (left < sizeof(*event) || left < event_bytes(event) ||
	    event->operation >= BOOTPROF_OPERATIONS ||
	    event->path_bytes > BOOTPROF_PATH_LIMIT ||
	    event->name_bytes > BOOTPROF_PATH_LIMIT + 1)
		return NULL;
	return event;
}

const struct bootprof_event *store_next(const struct store *store, size_t *offset)
{
	if (!*offset) {
		*offset = aligned(sizeof(*store->header));
	} else {
		const struct bootprof_event *before = store_at(store, *offset);

		if (!before)
			return NULL;
		*offset += aligned(event_bytes(before));
	}
	return store_at(store, *offset);
}
