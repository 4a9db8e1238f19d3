// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof.bpf.c - the BPF programs: which files are opened, executed, mapped, and read from disk
 *
 * They are attached to tracepoints, which every kernel with BTF allows, and, where the kernel
 * allows it, to two kernel functions in place of sys_exit, at less than half the cost of a recorded
 * open:
 *
 *   sys_exit                       a successful open or mmap: the descriptor leads to the struct
 *                                  file, so links, directory handles and the like are resolved
 *   fd_install(), vm_mmap_pgoff()  the same, including opens by io_uring; other system calls do
 *                                  not pass through a program
 *   sched_process_exec             a successful execve(2): the script by its given name, the
 *                                  program, and the ELF interpreter from the new memory map, since
 *                                  the kernel opens the latter itself
 *   mm_filemap_add_to_page_cache   pages that were not in memory: what was read from the medium,
 *                                  including readahead
 *   mm_filemap_get_pages, _fault,  use of pages, whether they were in memory or not (6.12 and
 *   _map_pages                     newer, and only on request)
 *
 * event.bpf.h has the event and its buffers, walk.bpf.h the paths, core_fixes.bpf.h what differs
 * from kernel to kernel.
 */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "bootprof_event.h"
#include "core_fixes.bpf.h"
#include "event.bpf.h"
#include "walk.bpf.h"

#define PAGE_SHIFT		12

#define S_IFMT			00170000
#define S_IFREG			0100000
#define FMODE_PATH		0x4000
#define O_TMPFILE		020000000	/* without O_DIRECTORY */
#define MAP_ANONYMOUS		0x20
#define TS_COMPAT		0x2
#define PF_IO_WORKER		0x10
#define GFP_IO			0x40
#define X32_SYSCALL		0x40000000

/* /sys/kernel/tracing/events/raw_syscalls/sys_exit/format */
struct sys_exit_fields {
	u64 common;
	long number;
	long result;
};

/* Record an access to an open file, if it is a regular one. */
static __always_inline void record_file(void *context, u32 key, u16 operation, struct file *file,
					u64 offset_bytes, u64 length_bytes)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct scratch *scratch;
	struct path path;

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return;
	/* Created without a name. */
	if (BPF_CORE_READ(file, f_flags) & O_TMPFILE)
		return;
	scratch = start_event(key, operation);
	if (!scratch)
		return;
	scratch->event.offset_bytes = offset_bytes;
	scratch->event.length_bytes = length_bytes;
	set_inode(&scratch->event, inode);
	path = BPF_CORE_READ(file, f_path);
	if (set_path(scratch, key, &path, (struct task_struct *)bpf_get_current_task()))
		send_event(context, scratch);
}

static __always_inline struct file *file_of_descriptor(struct task_struct *task, u32 descriptor)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + descriptor);
	return file;
}

/* open, creat, openat, openat2, open_by_handle_at: arch/x86/entry/syscalls/syscall_64.tbl */
static __always_inline bool opens(u32 number)
{
	return number == 257 || number == 2 || number == 85 || number == 437 || number == 304;
}

/* The same in syscall_32.tbl. */
static __always_inline bool opens_compat(u32 number)
{
	return number == 295 || number == 5 || number == 8 || number == 437 || number == 342;
}

#define SYSCALL_MMAP		9
#define SYSCALL_COMPAT_MMAP2	192
#define SYSCALL_IO_URING_ENTER	426	/* in both tables */

static __always_inline void record_syscall(void *context, u32 number, long result,
					   struct pt_regs *regs)
{
	u64 offset_bytes = 0, length_bytes = 0;
	struct task_struct *task;
	bool compat, is_map;
	u32 descriptor;
	struct file *file;

	if (result < 0 && result >= -4095)
		return;
	task = (struct task_struct *)bpf_get_current_task();
	compat = BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
	is_map = number == (compat ? SYSCALL_COMPAT_MMAP2 : SYSCALL_MMAP);
	if (is_map) {
		u32 flags = compat ? BPF_CORE_READ(regs, si) : BPF_CORE_READ(regs, r10);

		if (flags & MAP_ANONYMOUS || !wanted(BOOTPROF_MAP))
			return;
		descriptor = compat ? BPF_CORE_READ(regs, di) : BPF_CORE_READ(regs, r8);
		length_bytes = compat ? BPF_CORE_READ(regs, cx) : BPF_CORE_READ(regs, si);
		offset_bytes = compat ? (u64)BPF_CORE_READ(regs, bp) << PAGE_SHIFT :
			       BPF_CORE_READ(regs, r9);
	} else {
		if (!(compat ? opens_compat(number) : opens(number)) || !wanted(BOOTPROF_OPEN))
			return;
		descriptor = result;
	}
	file = file_of_descriptor(task, descriptor);
	if (!file) {
		count_loss(BOOTPROF_LOST_FILE);
		return;
	}
	if (BPF_CORE_READ(file, f_mode) & FMODE_PATH)
		return;
	record_file(context, SCRATCH_SYSCALL, is_map ? BOOTPROF_MAP : BOOTPROF_OPEN, file,
		    offset_bytes, length_bytes);
}

/* A quick check: nearly every system call passes here. */
static __always_inline bool of_interest(u32 number)
{
	return number == SYSCALL_MMAP || number == SYSCALL_COMPAT_MMAP2 || opens(number) ||
	       opens_compat(number);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(saw_sys_exit, struct pt_regs *regs, long result)
{
	u32 number = regs->orig_ax & ~X32_SYSCALL;

	if (of_interest(number))
		record_syscall(ctx, number, result, regs);
	return 0;
}

/*
 * The same as a classic tracepoint, for kernels that preempt BPF programs at raw tracepoints (since
 * 7.0: core_fixes.bpf.h). There, the kernel skips every run of a program on a processor until its
 * preempted run continues; under load, it skipped more than half. Classic tracepoints run with
 * preemption disabled.
 */
SEC("tp/raw_syscalls/sys_exit")
int saw_sys_exit_classic(struct sys_exit_fields *fields)
{
	u32 number = fields->number & ~X32_SYSCALL;

	if (of_interest(number)) {
		struct task_struct *task = bpf_get_current_task_btf();

		record_syscall(fields, number, fields->result,
			       (struct pt_regs *)bpf_task_pt_regs(task));
	}
	return 0;
}

/*
 * The fast variant: the kernel passes typed pointers, so the program follows them with plain loads,
 * which read as 0 where nothing is mapped, and not with a helper call for each.
 */
static __always_inline void record_quickly(void *context, u32 key, u16 operation,
					   struct task_struct *task, struct file *file,
					   u64 offset_bytes, u64 length_bytes)
{
	struct inode *inode = file->f_inode;
	struct super_block *super = inode->i_sb;
	struct fs_struct *fs = task->fs;
	struct scratch *scratch;
	int length;

	if (file->f_flags & O_TMPFILE)
		return;
	scratch = start_event(key, operation);
	if (!scratch)
		return;
	scratch->event.offset_bytes = offset_bytes;
	scratch->event.length_bytes = length_bytes;
	scratch->event.inode = inode->i_ino;
	scratch->event.device = super->s_dev;
	bpf_probe_read_kernel_str(scratch->event.file_system,
				  sizeof(scratch->event.file_system), super->s_type->name);
	length = walk_quickly(scratch, key, file, fs);
	if (length == WALK_NAMELESS)
		return;
	if (length < 0 || length > BOOTPROF_PATH_LIMIT) {
		count_loss(BOOTPROF_LOST_PATH);
		return;
	}
	scratch->event.path_bytes = length;
	if (may_be_initramfs(fs->root.mnt) && is_initramfs(fs->root.mnt))
		scratch->event.flags |= BOOTPROF_IN_INITRAMFS;
	send_event(context, scratch);
}

/*
 * A descriptor is assigned its file. That also happens for duplicates and for files received from a
 * socket, so the system call must be one that opens files. io_uring's worker threads are in none,
 * and io_uring_enter(2) can do whatever a worker can.
 */
SEC("fentry/fd_install")
int BPF_PROG(saw_fd_install, unsigned int descriptor, struct file *file)
{
	struct task_struct *task;
	u32 number;

	if ((file->f_inode->i_mode & S_IFMT) != S_IFREG || file->f_mode & FMODE_PATH)
		return 0;
	task = bpf_get_current_task_btf();
	if ((u32)task->tgid == own_process || !(operations & 1 << BOOTPROF_OPEN))
		return 0;
	if (!(task->flags & PF_IO_WORKER)) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

		number = regs->orig_ax & ~X32_SYSCALL;
		if (number != SYSCALL_IO_URING_ENTER &&
		    !(task->thread_info.status & TS_COMPAT ? opens_compat(number) : opens(number)))
			return 0;
	}
	record_quickly(ctx, SCRATCH_SYSCALL, BOOTPROF_OPEN, task, file, 0, 0);
	return 0;
}

/* The program loader also maps files; only mmap(2) counts here. */
SEC("fexit/vm_mmap_pgoff")
int BPF_PROG(saw_mmap, struct file *file, unsigned long address, unsigned long length_bytes,
	     unsigned long protection, unsigned long flags, unsigned long first, long result)
{
	struct task_struct *task;
	struct pt_regs *regs;
	u32 number;

	if (!file || (result < 0 && result >= -4095))
		return 0;
	if ((file->f_inode->i_mode & S_IFMT) != S_IFREG)
		return 0;
	task = bpf_get_current_task_btf();
	if ((u32)task->tgid == own_process || !(operations & 1 << BOOTPROF_MAP))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	number = regs->orig_ax & ~X32_SYSCALL;
	if (number != (task->thread_info.status & TS_COMPAT ? SYSCALL_COMPAT_MMAP2 : SYSCALL_MMAP))
		return 0;
	record_quickly(ctx, SCRATCH_SYSCALL, BOOTPROF_MAP, task, file, first << PAGE_SHIFT,
		       length_bytes);
	return 0;
}

/*
 * The script of an execve(2). The kernel has already released its struct file and opened the
 * interpreter, so only the given name and the working directory are left.
 */
static __always_inline void record_script(void *context, const char *name)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct scratch *scratch = start_event(SCRATCH_EXEC, BOOTPROF_EXEC);
	struct bootprof_event *event;
	struct path directory;
	u32 start;
	long length;

	if (!scratch)
		return;
	event = &scratch->event;
	event->flags = BOOTPROF_NAME_GIVEN;
	event->inode = 0;
	event->device = 0;
	event->file_system[0] = '\0';
	directory = BPF_CORE_READ(task, fs, pwd);
	if (!set_path(scratch, SCRATCH_EXEC, &directory, task))
		return;
	start = event->path_bytes & BOOTPROF_PATH_LIMIT;
	length = bpf_probe_read_kernel_str(&scratch->text[start], BOOTPROF_PATH_LIMIT + 1, name);
	if (length <= 0 || length > BOOTPROF_PATH_LIMIT + 1) {
		count_loss(BOOTPROF_LOST_PATH);
		return;
	}
	event->name_bytes = length;
	send_event(context, scratch);
}

static __always_inline void record_exec(void *context, struct linux_binprm *program)
{
	const char *name = program->filename;

	if (program->interp != name)
		record_script(context, name);
	record_file(context, SCRATCH_EXEC, BOOTPROF_EXEC, program->file, 0, 0);
}

/*
 * Only the script, where saw_exec_classic records the rest. It returns at once for anything else,
 * because a preempted run makes the kernel skip others (see saw_sys_exit_classic). It is attached
 * before that program, so that a script precedes its interpreter.
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(saw_script, struct task_struct *task, pid_t old_pid, struct linux_binprm *program)
{
	const char *name = program->filename;

	if (program->interp != name && wanted(BOOTPROF_EXEC))
		record_script(ctx, name);
	return 0;
}

/* For kernels before 5.17: see list_interpreter(). */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(saw_exec_vma_list, struct task_struct *task, pid_t old_pid,
	     struct linux_binprm *program)
{
	struct file *interpreter;

	if (!wanted(BOOTPROF_EXEC))
		return 0;
	record_exec(ctx, program);
	interpreter = list_interpreter(task, program->file->f_path.dentry);
	if (interpreter)
		record_file(ctx, SCRATCH_EXEC, BOOTPROF_MAP, interpreter, 0, 0);
	return 0;
}

static __always_inline void record_interpreter(void *context, u32 key, struct file *program)
{
	struct file *interpreter;

	if (find_interpreter(bpf_get_current_task_btf(), BPF_CORE_READ(program, f_path.dentry),
			     &interpreter))
		count_loss(BOOTPROF_LOST_FILE);
	else if (interpreter)
		record_file(context, key, BOOTPROF_MAP, interpreter, 0, 0);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(saw_exec_find_vma, struct task_struct *task, pid_t old_pid,
	     struct linux_binprm *program)
{
	if (!wanted(BOOTPROF_EXEC))
		return 0;
	record_exec(ctx, program);
	record_interpreter(ctx, SCRATCH_EXEC, program->file);
	return 0;
}

/* With preemption disabled. Its arguments do not lead to the program; the process does. */
SEC("tp/sched/sched_process_exec")
int saw_exec_classic(void *fields)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct file *program = BPF_CORE_READ(task, mm, exe_file);

	if (!wanted(BOOTPROF_EXEC))
		return 0;
	record_file(fields, SCRATCH_EXEC_CLASSIC, BOOTPROF_EXEC, program, 0, 0);
	record_interpreter(fields, SCRATCH_EXEC_CLASSIC, program);
	return 0;
}

/* Record an access to pages of a file. */
static __always_inline void record_pages(void *context, u32 key, u16 operation,
					 struct address_space *mapping, u64 first, u64 pages)
{
	struct inode *inode = BPF_CORE_READ(mapping, host);
	u64 offset_bytes = first << PAGE_SHIFT;
	u64 length_bytes = pages << PAGE_SHIFT;
	struct scratch *scratch;
	u64 size_bytes;

	/* Neither block devices (such as the tables of a squashfs) nor directories. */
	if (!inode || (BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return;
	/*
	 * The file behind a loop device: only loop_configure() forbids I/O in allocations for the
	 * pages of a file. Reads through the device are recorded by the files on it.
	 */
	if (!(BPF_CORE_READ(mapping, gfp_mask) & GFP_IO))
		return;
	/* Beyond the end: a page that is being written, not read. */
	size_bytes = BPF_CORE_READ(inode, i_size);
	if (offset_bytes >= size_bytes)
		return;
	if (length_bytes > size_bytes - offset_bytes)
		length_bytes = size_bytes - offset_bytes;
	scratch = start_event(key, operation);
	if (!scratch)
		return;
	scratch->event.flags = BOOTPROF_PATH_IN_FILE_SYSTEM;
	scratch->event.offset_bytes = offset_bytes;
	scratch->event.length_bytes = length_bytes;
	set_inode(&scratch->event, inode);
	if (set_alias(scratch, key, inode))
		send_event(context, scratch);
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int saw_cache(u64 *ctx)
{
	struct cached_pages pages;

	if (!wanted(BOOTPROF_CACHE))
		return 0;
	pages = cached_pages((void *)ctx[0]);
	record_pages(ctx, SCRATCH_CACHE, BOOTPROF_CACHE, pages.mapping, pages.first, pages.count);
	return 0;
}

SEC("tp_btf/mm_filemap_get_pages")
int BPF_PROG(saw_read, struct address_space *mapping, unsigned long first, unsigned long end)
{
	if (wanted(BOOTPROF_READ) && end > first)
		record_pages(ctx, SCRATCH_READ, BOOTPROF_READ, mapping, first, end - first);
	return 0;
}

/* A page fault on a page that was not in memory. */
SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(saw_fault, struct address_space *mapping, unsigned long first)
{
	if (wanted(BOOTPROF_FAULT))
		record_pages(ctx, SCRATCH_FAULT, BOOTPROF_FAULT, mapping, first, 1);
	return 0;
}

/* A page fault on a page that was in memory; the kernel maps its neighbours with it. */
SEC("tp_btf/mm_filemap_map_pages")
int BPF_PROG(saw_map_pages, struct address_space *mapping, unsigned long first,
	     unsigned long last)
{
	if (wanted(BOOTPROF_FAULT) && last >= first)
		record_pages(ctx, SCRATCH_MAP_PAGES, BOOTPROF_FAULT, mapping, first,
			     last - first + 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
