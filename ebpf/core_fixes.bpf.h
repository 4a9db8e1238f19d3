/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SPDX-FileCopyrightText: The bootprof authors */
/*
 * core_fixes.bpf.h - what differs from kernel to kernel, from Linux 5.10 on
 *
 * libbpf adjusts the offset of a field by itself (BPF CO-RE). What remains is in this file, or in
 * the choice that tracer.c makes between two programs for the same purpose:
 *
 * since  commit        what changed                                      handled by
 * 5.8    71d19214776e  helper bpf_ktime_get_boot_ns() added              boot_time_ns()
 * 5.8    457f44363a88  ring buffer added                                 tracer.c: perf buffer
 * 5.15   dd6e10fbd9fb  helper bpf_task_pt_regs() added                   tracer.c: saw_sys_exit
 * 5.16   7b230db3b8d3  struct folio added, laid out as a head page       cached_pages()
 * 5.17   a0580c6f9bab  page cache tracepoints pass a folio, not a page   cached_pages()
 * 5.17   7c7e3d31e785  helper bpf_find_vma() added                       find_interpreter()
 * 6.1    763ecb035029  list of the memory areas of a process removed     list_interpreter()
 * 6.1    379708ffde1b  order of a folio: page.compound_order became
 *                      folio._folio_order                                folio_order()
 * 6.6    ebc1baf5c9b4  order of a folio: low byte of folio._flags_1      folio_order()
 * 6.12   6a1a85307af0  tracepoints for the use of cached pages added     tracer.c: refused before
 * 6.13   7c70cb94d29c  lazy preemption added: a running program may be   tracer.c: preempts()
 *                      preempted at a function that it is attached to
 * 6.18   53fbef56e07d  folio.flags became a structure                    folio_flags()
 * 7.0    a46023d5616e  raw tracepoints no longer disable preemption      saw_sys_exit_classic,
 *                                                                        saw_exec_classic
 * 7.1    2420067cecac  the union dentry.d_u lost its name                alias_entry()
 *
 * Each condition below asks the running kernel's types and not its version, so a change that a
 * distribution has backported works too. The verifier drops the branch that does not apply.
 */
#ifndef BOOTPROF_CORE_FIXES_BPF_H
#define BOOTPROF_CORE_FIXES_BPF_H

#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Memory areas of a new process to look at for its interpreter: there are fewer than ten. */
#define VMA_LIMIT	32

/* A name with ___ is another form of the type before it; libbpf ignores what follows the ___. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Since 7.1. */
struct dentry___unnamed {
	struct hlist_node d_alias;
};

/* Until 6.0; in the first page after the head. */
struct page___order {
	unsigned char compound_order;
};

/* From 6.1 to 6.5. */
struct folio___order {
	unsigned char _folio_order;
};

/* Since 6.18. */
struct folio___wrapped {
	struct {
		unsigned long f;
	} flags;
};

#pragma clang attribute pop

/* Nanoseconds since boot; time in suspend is missing before 5.8. */
static __always_inline u64 boot_time_ns(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ktime_get_boot_ns))
		return bpf_ktime_get_boot_ns();
	return bpf_ktime_get_ns();
}

/* The directory entry that a member of inode.i_dentry belongs to. */
static __always_inline struct dentry *alias_entry(struct hlist_node *node)
{
	if (bpf_core_field_exists(struct dentry, d_u))
		return (void *)node - bpf_core_field_offset(struct dentry, d_u.d_alias);
	return (void *)node - bpf_core_field_offset(struct dentry___unnamed, d_alias);
}

static __always_inline unsigned long folio_flags(struct folio *folio)
{
	if (bpf_core_field_exists(((struct folio___wrapped *)0)->flags.f))
		return BPF_CORE_READ((struct folio___wrapped *)folio, flags.f);
	return BPF_CORE_READ(folio, flags);
}

/* The order of a folio that has more than one page. */
static __always_inline u32 folio_order(struct folio *folio)
{
	struct page___order *tail;

	if (bpf_core_field_exists(struct folio___order, _folio_order))
		return BPF_CORE_READ((struct folio___order *)folio, _folio_order);
	if (bpf_core_field_exists(struct folio, _flags_1))
		return BPF_CORE_READ(folio, _flags_1) & 0xff;
	tail = (void *)folio + bpf_core_type_size(struct page);
	return BPF_CORE_READ(tail, compound_order);
}

static __always_inline u64 folio_pages(struct folio *folio)
{
	if (!(folio_flags(folio) >> bpf_core_enum_value(enum pageflags, PG_head) & 1))
		return 1;
	return 1ULL << (folio_order(folio) & 0x1f);
}

struct cached_pages {
	struct address_space *mapping;
	u64 first;
	u64 count;
};

/* What a tracepoint of the page cache passes as its first argument: a folio, or a page. */
static __always_inline struct cached_pages cached_pages(void *argument)
{
	struct cached_pages pages = { .count = 1 };
	struct folio *folio = argument;
	struct page *page = argument;

	if (bpf_core_type_exists(struct folio)) {
		pages.mapping = BPF_CORE_READ(folio, mapping);
		pages.first = BPF_CORE_READ(folio, index);
		pages.count = folio_pages(folio);
	} else {
		pages.mapping = BPF_CORE_READ(page, mapping);
		pages.first = BPF_CORE_READ(page, index);
	}
	return pages;
}

/*
 * The ELF interpreter of a program, until 6.0: the first mapped file that is not the program. They
 * are compared by directory entry, since overlayfs maps a struct file of its own.
 *
 * Return: its file, or NULL.
 */
static __always_inline struct file *list_interpreter(struct task_struct *task,
						     struct dentry *program)
{
	struct vm_area_struct *area = BPF_CORE_READ(task, mm, mmap);
	int i;

	for (i = 0; i < VMA_LIMIT && area; i++) {
		struct file *mapped = BPF_CORE_READ(area, vm_file);

		if (mapped && BPF_CORE_READ(mapped, f_path.dentry) != program)
			return mapped;
		area = BPF_CORE_READ(area, vm_next);
	}
	return NULL;
}

struct found_area {
	struct file *file;
};

static long found_area(struct task_struct *task, struct vm_area_struct *area,
		       struct found_area *found)
{
	found->file = BPF_CORE_READ(area, vm_file);
	return 0;
}

/*
 * The same since 5.17: the file that is mapped where the process will start.
 *
 * Return: 0 and its file, or NULL if that is the program; or the error of bpf_find_vma().
 */
static __always_inline long find_interpreter(struct task_struct *task, struct dentry *program,
					     struct file **interpreter)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct found_area found = {};
	long error = bpf_find_vma(task, BPF_CORE_READ(regs, ip), found_area, &found, 0);

	/* A copy: BPF_CORE_READ() would look for struct found_area in the kernel's types. */
	struct file *mapped = found.file;

	*interpreter = NULL;
	if (!error && mapped && BPF_CORE_READ(mapped, f_path.dentry) != program)
		*interpreter = mapped;
	return error;
}

#endif
