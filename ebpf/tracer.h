/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* tracer.h - loads the BPF programs, drains their buffer */
#ifndef BOOTPROF_TRACER_H
#define BOOTPROF_TRACER_H

#include "event_store.h"

/**
 * struct tracer_options - what to trace and how
 * @operations: bits of enum bootprof_operation
 * @buffer_bytes: size of the buffer between kernel and user space, all processors together
 * @perf_buffer: do not use the ring buffer, even if there is one
 * @verbose: print what libbpf and the kernel's verifier say
 */
struct tracer_options {
	unsigned int operations;
	size_t buffer_bytes;
	bool perf_buffer;
	bool verbose;
};

/**
 * struct tracer_error - why it did not start
 * @message: one line
 * @hint: how to mend it, or empty
 */
struct tracer_error {
	char message[512];
	char hint[256];
};

struct tracer;

struct tracer *tracer_start(const struct tracer_options *options, struct store *store,
			    struct tracer_error *error);
void tracer_drain(struct tracer *tracer, int timeout_ms);
void tracer_stop(struct tracer *tracer);

#endif
