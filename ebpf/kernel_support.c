// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* kernel_support.c - what the running kernel offers and allows */
#include "kernel_support.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "files.h"

/* Whether this process has the capabilities to load tracing programs. */
bool kernel_allows_bpf(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};
	uint64_t effective;

	if (syscall(SYS_capget, &header, data))
		return geteuid() == 0;
	effective = (uint64_t)data[1].effective << 32 | data[0].effective;
	return effective >> CAP_SYS_ADMIN & 1 ||
	       (effective >> CAP_BPF & 1 && effective >> CAP_PERFMON & 1);
}

/* Whether the kernel is locked down to "confidentiality": BPF programs may not read its memory. */
bool kernel_hides_memory(void)
{
	char line[128];

	read_line(AT_FDCWD, LOCKDOWN, line, sizeof(line));
	return strstr(line, "[confidentiality]");
}

bool kernel_has_tracepoint(const struct btf *btf, const char *name)
{
	char type[64];

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF) > 0;
}

bool kernel_has_helper(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, "bpf_func_id", BTF_KIND_ENUM);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, id) : NULL;
	int i;

	for (i = 0; type && i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_enum(type)[i].name_off), name))
			return true;
	return false;
}

/*
 * Whether the kernel may preempt a BPF program that is attached to a function (see
 * saw_sys_exit_classic). With CONFIG_PREEMPT_DYNAMIC the command line decides; Debian's kernels
 * chose "voluntary" or "none" until lazy preemption replaced them (6.13: core_fixes.bpf.h).
 */
static bool preempts(void)
{
	unsigned int major = 0, minor = 0;
	char line[4096];
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return true;
	if (major > 6 || (major == 6 && minor >= 13) || strstr(name.version, " PREEMPT ") ||
	    strstr(name.version, " PREEMPT_RT "))
		return true;
	read_line(AT_FDCWD, "/proc/cmdline", line, sizeof(line));
	return strstr(line, "preempt=full");
}

/* Whether a program at a function reads the registers of the system call, and is not preempted. */
bool kernel_allows_fentry(const struct btf *btf)
{
	return !preempts() && kernel_has_helper(btf, "BPF_FUNC_task_pt_regs");
}

bool kernel_has_tracefs(void)
{
	return !access(TRACEFS "/events", F_OK) || !access(TRACEFS_IN_DEBUGFS "/events", F_OK);
}
