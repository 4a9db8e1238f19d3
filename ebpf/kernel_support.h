/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* kernel_support.h - what the running kernel offers and allows */
#ifndef BOOTPROF_KERNEL_SUPPORT_H
#define BOOTPROF_KERNEL_SUPPORT_H

#include <bpf/btf.h>
#include <stdbool.h>

#define TRACEFS			"/sys/kernel/tracing"
#define TRACEFS_IN_DEBUGFS	"/sys/kernel/debug/tracing"
#define LOCKDOWN		"/sys/kernel/security/lockdown"

bool kernel_allows_bpf(void);
bool kernel_hides_memory(void);
bool kernel_has_tracepoint(const struct btf *btf, const char *name);
bool kernel_has_helper(const struct btf *btf, const char *name);
bool kernel_allows_fentry(const struct btf *btf);
bool kernel_has_tracefs(void);

#endif
