/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SPDX-FileCopyrightText: The bootprof authors */
/*
 * event.bpf.h - one event: the per-CPU memory that it is built in, and the buffer that takes it
 *
 * A program fills a per-CPU scratch area of its own with one event and sends only as many bytes as
 * the paths need. The loader sets the constants before the kernel sees the programs.
 */
#ifndef BOOTPROF_EVENT_BPF_H
#define BOOTPROF_EVENT_BPF_H

#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "bootprof_event.h"
#include "core_fixes.bpf.h"

const volatile __u32 own_process = 0;	/* whose accesses are left out */
const volatile __u32 operations = 0;	/* bits of enum bootprof_operation to record */
const volatile bool use_perf_buffer = false;
const volatile __u64 wakeup_bytes = 0;	/* fill of the ring buffer that wakes the loader early */

struct scratch {
	struct bootprof_event event;
	/* A name may start at any offset up to the limit, and end a name later. */
	char text[BOOTPROF_PATH_LIMIT + 1 + BOOTPROF_PATH_LIMIT + 1];
	u32 used_bytes;
	/* Where walk() is, and where it ends. */
	u64 dentry;
	u64 mnt;
	u64 root_dentry;
	u64 root_mnt;
};

/* One for each program that another may interrupt on a kernel that preempts BPF programs. */
enum scratch_key {
	SCRATCH_SYSCALL,
	SCRATCH_EXEC,
	SCRATCH_EXEC_CLASSIC,
	SCRATCH_CACHE,
	SCRATCH_READ,
	SCRATCH_FAULT,
	SCRATCH_MAP_PAGES,
	SCRATCHES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/*
 * Counted by enum bootprof_loss. The loader maps this memory: reading a map with bpf(2) would keep
 * the programs of that processor from running meanwhile.
 */
__u64 losses[BOOTPROF_LOSSES];

/* The loader creates one of these two. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} perf_buffer SEC(".maps");

static __always_inline void count_loss(enum bootprof_loss loss)
{
	__sync_fetch_and_add(&losses[loss], 1);
}

static __always_inline bool wanted(u32 operation)
{
	return operations & (1 << operation) &&
	       (u32)(bpf_get_current_pid_tgid() >> 32) != own_process;
}

/* Fill the fields that do not depend on the file. */
static __always_inline struct scratch *start_event(u32 key, u16 operation)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	struct bootprof_event *event;

	if (!scratch)
		return NULL;
	event = &scratch->event;
	event->time_ns = boot_time_ns();
	event->offset_bytes = 0;
	event->length_bytes = 0;
	event->process = bpf_get_current_pid_tgid() >> 32;
	event->operation = operation;
	event->flags = 0;
	event->path_bytes = 0;
	event->name_bytes = 0;
	bpf_get_current_comm(event->command, sizeof(event->command));
	return scratch;
}

static __always_inline void set_inode(struct bootprof_event *event, struct inode *inode)
{
	struct super_block *super = BPF_CORE_READ(inode, i_sb);

	event->inode = BPF_CORE_READ(inode, i_ino);
	event->device = BPF_CORE_READ(super, s_dev);
	bpf_probe_read_kernel_str(event->file_system, sizeof(event->file_system),
				  BPF_CORE_READ(super, s_type, name));
}

/* Send the event to user space. */
static __always_inline void send_event(void *context, struct scratch *scratch)
{
	u64 size = sizeof(struct bootprof_event) + scratch->event.path_bytes +
		   scratch->event.name_bytes;
	long error;

	if (size > sizeof(*scratch))
		return;
	if (use_perf_buffer) {
		error = bpf_perf_event_output(context, &perf_buffer, BPF_F_CURRENT_CPU, scratch,
					      size);
	} else {
		/* Waking the loader for each event would cost more than the event itself. */
		u64 flags = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < wakeup_bytes ?
			    BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP;

		error = bpf_ringbuf_output(&ring, scratch, size, flags);
	}
	if (error)
		count_loss(BOOTPROF_LOST_BUFFER);
}

#endif
