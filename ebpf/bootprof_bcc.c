// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_bcc.c - opens and executions, by tracepoint arguments alone
 *
 * Compiled by bcc when bootprof_bcc.py starts. It reads no structure of the kernel, so the headers
 * of another kernel are good enough. All that it knows of a file is the name that the program gave
 * (BOOTPROF_NAME_GIVEN); bootprof_bcc.py makes it absolute.
 *
 * @device of an event is the directory handle that the name is relative to.
 */
#include <uapi/linux/fcntl.h>
#include "bootprof_event.h"

struct scratch {
	struct bootprof_event event;
	char text[BOOTPROF_PATH_LIMIT + 1];
};

struct call {
	const char *name;
	int directory;
};

BPF_RINGBUF_OUTPUT(events, 1024);
BPF_PERCPU_ARRAY(scratches, struct scratch, 1);
BPF_ARRAY(losses, u64, 1);
BPF_HASH(calls, u64, struct call, 16384);

static __always_inline void count_loss(void)
{
	int key = 0;
	u64 *count = losses.lookup(&key);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct scratch *start_event(u16 operation, int directory)
{
	int key = 0;
	struct scratch *scratch = scratches.lookup(&key);

	if (!scratch)
		return NULL;
	scratch->event.time_ns = bpf_ktime_get_boot_ns();
	scratch->event.inode = 0;
	scratch->event.offset_bytes = 0;
	scratch->event.length_bytes = 0;
	scratch->event.device = directory;
	scratch->event.process = bpf_get_current_pid_tgid() >> 32;
	scratch->event.operation = operation;
	scratch->event.flags = BOOTPROF_NAME_GIVEN;
	scratch->event.path_bytes = 0;
	scratch->event.name_bytes = 0;
	scratch->event.file_system[0] = 0;
	bpf_get_current_comm(scratch->event.command, sizeof(scratch->event.command));
	return scratch;
}

static __always_inline void send_event(struct scratch *scratch, long name_bytes)
{
	if (name_bytes <= 0 || name_bytes > BOOTPROF_PATH_LIMIT + 1) {
		count_loss();
		return;
	}
	scratch->event.name_bytes = name_bytes;
	if (events.ringbuf_output(scratch, sizeof(scratch->event) + name_bytes, 0))
		count_loss();
}

static __always_inline int remember(const char *name, int directory)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call call = { .name = name, .directory = directory };

	if (thread >> 32 == OWN_PROCESS)
		return 0;
	if (calls.update(&thread, &call))
		count_loss();
	return 0;
}

/* The name is read at the end of the call, when its page is in memory. */
static __always_inline int record(long result)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call *found = calls.lookup(&thread);
	struct scratch *scratch;
	struct call call;

	if (!found)
		return 0;
	call = *found;
	calls.delete(&thread);
	if (result < 0)
		return 0;
	scratch = start_event(BOOTPROF_OPEN, call.directory);
	if (scratch)
		send_event(scratch, bpf_probe_read_user_str(scratch->text, sizeof(scratch->text),
							    call.name));
	return 0;
}

TRACEPOINT_PROBE(syscalls, sys_enter_open) { return remember(args->filename, AT_FDCWD); }
TRACEPOINT_PROBE(syscalls, sys_enter_creat) { return remember(args->pathname, AT_FDCWD); }
TRACEPOINT_PROBE(syscalls, sys_enter_openat) { return remember(args->filename, args->dfd); }
TRACEPOINT_PROBE(syscalls, sys_enter_openat2) { return remember(args->filename, args->dfd); }
TRACEPOINT_PROBE(syscalls, sys_exit_open) { return record(args->ret); }
TRACEPOINT_PROBE(syscalls, sys_exit_creat) { return record(args->ret); }
TRACEPOINT_PROBE(syscalls, sys_exit_openat) { return record(args->ret); }
TRACEPOINT_PROBE(syscalls, sys_exit_openat2) { return record(args->ret); }

TRACEPOINT_PROBE(sched, sched_process_exec)
{
	struct scratch *scratch = start_event(BOOTPROF_EXEC, AT_FDCWD);
	/* Low half: where in the record the name is. */
	const char *name = (const char *)args + (args->data_loc_filename & 0xffff);

	if (scratch)
		send_event(scratch, bpf_probe_read_kernel_str(scratch->text,
							      sizeof(scratch->text), name));
	return 0;
}
