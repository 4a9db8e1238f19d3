/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* event_store.h - the recorded events, in memory of limited size or in a file */
#ifndef BOOTPROF_EVENT_STORE_H
#define BOOTPROF_EVENT_STORE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bootprof_event.h"

/**
 * struct store_header - start of the memory, and so of a spool file
 * @magic: STORE_MAGIC
 * @used_bytes: used part of the memory, including this header
 * @events: number of events in it
 * @no_room: events for which no memory was left
 * @lost_in_kernel: events that did not reach this program
 * @skipped_runs: runs of BPF programs that the kernel skipped; each may have been an event
 * @backend: backend, for the header of the bootlog
 * @kernel: release of the kernel
 */
struct store_header {
	char magic[16];
	uint64_t used_bytes;
	uint64_t events;
	uint64_t no_room;
	uint64_t lost_in_kernel;
	uint64_t skipped_runs;
	char backend[64];
	char kernel[128];
};

/**
 * struct store - memory of fixed size that events are appended to
 * @header: its start
 * @size_bytes: its size
 */
struct store {
	struct store_header *header;
	size_t size_bytes;
};

/* All return 0 or a negative error number. */
int store_create(struct store *store, size_t size_bytes, const char *spool);
int store_open(struct store *store, const char *spool);
void store_close(struct store *store);

void store_append(struct store *store, const void *data, size_t size_bytes);
uint64_t store_lost(const struct store *store);

/* The event at an offset, or NULL at the end; set @offset to 0 for the first one. */
const struct bootprof_event *store_next(const struct store *store, size_t *offset);
const struct bootprof_event *store_at(const struct store *store, size_t offset);

#endif
