// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * bootprof.bpf.c - see which files are opened, executed and mapped, and what the disk served
 *
 * Tracepoints, which every kernel with BTF allows, and two kernel functions in place of the first
 * one where the kernel allows that, which costs a recorded open less than half as much:
 *
 *   sys_exit                       a successful open or mmap: the descriptor leads to the struct
 *                                  file, so links, directory handles and the like are resolved
 *   fd_install(), vm_mmap_pgoff()  the same, io_uring's opens among them; no other system call
 *                                  has to take the way through sys_exit for it
 *   sched_process_exec             an execve(2) that succeeded: the script by the name that was
 *                                  given, the program, and its ELF interpreter out of the new
 *                                  memory map, since the kernel opens that itself
 *   mm_filemap_add_to_page_cache   pages that were not in memory: what was read of the medium,
 *                                  readahead included
 *   mm_filemap_get_pages, _fault,  use of pages, in memory or not (6.12 and newer; not asked
 *   _map_pages                     for unless the loader is told)
 *
 * A program fills a per-CPU scratch area of its own with one event and hands over as many bytes
 * as the path takes. Paths are walked here, by the same rules as d_path(), because bpf_d_path()
 * is not allowed at these tracepoints. Components go from the last to the first; the loader turns
 * them round.
 */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "bootprof_event.h"

#define PAGE_BYTES		4096
#define PAGE_SHIFT		12
/* Mounts crossed count too. A path of 4095 bytes has 2047 components at most; nobody's has. */
#define WALK_STEPS		8
#define WALK_PARTS		64
/* Of the quick way, after which the general one goes on. */
#define QUICK_DEPTH_LIMIT	8
#define VMA_LIMIT		32

#define S_IFMT			00170000
#define S_IFREG			0100000
#define FMODE_PATH		0x4000
#define O_TMPFILE		020000000	/* without O_DIRECTORY */
#define MAP_ANONYMOUS		0x20
#define TS_COMPAT		0x2
#define PF_IO_WORKER		0x10
#define GFP_IO			0x40
#define X32_SYSCALL		0x40000000
#define RAMFS_MAGIC		0x858458f6
#define TMPFS_MAGIC		0x01021994

/* Set by the loader before the kernel sees the programs. */
const volatile __u32 own_process = 0;	/* whose accesses are left out */
const volatile __u32 operations = 0;	/* bits of enum bootprof_operation to record */
const volatile bool use_perf_buffer = false;
const volatile __u64 wakeup_bytes = 0;	/* fill of the ring buffer that wakes the loader early */

/* /sys/kernel/tracing/events/raw_syscalls/sys_exit/format */
struct sys_exit_fields {
	u64 common;
	long number;
	long result;
};

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

/* One for each program that could be interrupted by another on kernels that preempt them. */
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
 * By enum bootprof_loss. Mapped by the loader: a bpf(2) call to read a map would hold off the
 * programs on its processor meanwhile.
 */
__u64 losses[BOOTPROF_LOSSES];

/* The loader makes one of these two. */
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

static __always_inline bool is_file_system(struct file_system_type *type, const char *name)
{
	const char *type_name = BPF_CORE_READ(type, name);
	u64 begin = 0;

	bpf_probe_read_kernel(&begin, 7, type_name);
	return begin == *(const u64 *)name;
}

/* Whether a root directory is that of the initramfs, which has its own file system type. */
static __always_inline bool is_initramfs(struct vfsmount *mnt)
{
	static const char rootfs[8] __attribute__((aligned(8))) = "rootfs";
	struct super_block *super = BPF_CORE_READ(mnt, mnt_sb);
	u32 magic = BPF_CORE_READ(super, s_magic);

	if (magic != RAMFS_MAGIC && magic != TMPFS_MAGIC)
		return false;
	return is_file_system(BPF_CORE_READ(super, s_type), rootfs);
}

/* Fill what does not depend on the file. */
static __always_inline struct scratch *start_event(u32 key, u16 operation)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	struct bootprof_event *event;

	if (!scratch)
		return NULL;
	event = &scratch->event;
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ktime_get_boot_ns))
		event->time_ns = bpf_ktime_get_boot_ns();
	else
		event->time_ns = bpf_ktime_get_ns();
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

struct entry {
	struct dentry *parent;
	struct qstr name;
};

/* In one read where the two stand side by side, as they do on all kernels so far. */
static __always_inline void read_entry(struct entry *entry, struct dentry *dentry)
{
	u32 offset = bpf_core_field_offset(struct dentry, d_parent);

	if (bpf_core_field_offset(struct dentry, d_name) == offset + sizeof(entry->parent)) {
		bpf_probe_read_kernel(entry, sizeof(*entry), (void *)dentry + offset);
	} else {
		entry->parent = BPF_CORE_READ(dentry, d_parent);
		bpf_core_read(&entry->name, sizeof(entry->name), &dentry->d_name);
	}
}

enum walk_failure {
	WALK_TOO_LONG = -1,	/* or too deep */
	WALK_NAMELESS = -2,
	WALK_UNFINISHED = -3,
};

/* Write a component of a path into the scratch area. */
static __always_inline bool add_component(struct scratch *scratch, u32 length,
					  const unsigned char *name)
{
	u32 used = scratch->used_bytes;

	if (length > BOOTPROF_NAME_LIMIT || used + length + 1 > BOOTPROF_PATH_LIMIT)
		return false;
	bpf_probe_read_kernel(&scratch->text[used & BOOTPROF_PATH_LIMIT],
			      length & BOOTPROF_NAME_LIMIT, name);
	used += length & BOOTPROF_NAME_LIMIT;
	scratch->text[used & BOOTPROF_PATH_LIMIT] = '\0';
	scratch->used_bytes = used + 1;
	return true;
}

/*
 * Go WALK_STEPS on.
 *
 * A global function: the verifier looks at it once in a program, whoever calls it how often, and
 * most of the time that it takes to load this is the verifier's. How much is used is kept in the
 * scratch area, where the verifier does not follow it: or else it would look at every possible
 * sequence of names and mounts.
 *
 * Return: bytes written in all, or one of enum walk_failure.
 */
__attribute__((noinline)) int walk_part(u32 key)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	struct dentry *dentry, *mnt_root = NULL;
	struct vfsmount *vfsmount;
	int i;

	if (!scratch)
		return WALK_TOO_LONG;
	dentry = (struct dentry *)scratch->dentry;
	vfsmount = (struct vfsmount *)scratch->mnt;
	if (vfsmount)
		mnt_root = BPF_CORE_READ(vfsmount, mnt_root);
	for (i = 0; i < WALK_STEPS; i++) {
		struct dentry *parent;
		struct entry entry;

		if ((u64)dentry == scratch->root_dentry && (u64)vfsmount == scratch->root_mnt)
			return scratch->used_bytes;
		if (dentry == mnt_root) {
			struct mount *mount = (void *)vfsmount -
					      bpf_core_field_offset(struct mount, mnt);
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount)
				return scratch->used_bytes;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			vfsmount = (void *)above + bpf_core_field_offset(struct mount, mnt);
			mnt_root = BPF_CORE_READ(vfsmount, mnt_root);
			continue;
		}
		read_entry(&entry, dentry);
		parent = entry.parent;
		/* The root of a file system; or a file that is in no directory, like a memfd. */
		if (parent == dentry)
			return vfsmount ? WALK_NAMELESS : scratch->used_bytes;
		if (!add_component(scratch, entry.name.hash_len >> 32, entry.name.name))
			return WALK_TOO_LONG;
		dentry = parent;
	}
	scratch->dentry = (u64)dentry;
	scratch->mnt = (u64)vfsmount;
	return WALK_UNFINISHED;
}

/*
 * Walk from the directory entry of the scratch area up to the root directory, or to the root of
 * everything, and add the components. Without a mount: to the root of the file system.
 *
 * Return: bytes written in all, or one of enum walk_failure.
 */
static __always_inline int walk(u32 key)
{
	int result = WALK_UNFINISHED;
	int i;

	for (i = 0; i < WALK_PARTS && result == WALK_UNFINISHED; i++)
		result = walk_part(key);
	return result;
}

static __always_inline bool set_path(struct scratch *scratch, u32 key, struct path *path,
				     struct task_struct *task)
{
	struct path root = BPF_CORE_READ(task, fs, root);
	int length;

	scratch->used_bytes = 0;
	scratch->dentry = (u64)path->dentry;
	scratch->mnt = (u64)path->mnt;
	scratch->root_dentry = (u64)root.dentry;
	scratch->root_mnt = (u64)root.mnt;
	length = walk(key);
	if (length == WALK_NAMELESS)
		return false;
	if (length < 0 || length > BOOTPROF_PATH_LIMIT) {
		count_loss(BOOTPROF_LOST_PATH);
		return false;
	}
	scratch->event.path_bytes = length;
	if (is_initramfs(root.mnt))
		scratch->event.flags |= BOOTPROF_IN_INITRAMFS;
	return true;
}

/* Hand the event over. */
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

/* Record an access to an open file, if it is a regular one. */
static __always_inline void record_file(void *context, u32 key, u16 operation, struct file *file,
					u64 offset_bytes, u64 length_bytes)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct scratch *scratch;
	struct path path;

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return;
	/* Made without a name. */
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

/* Nearly every system call ends here. */
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
 * The same as a classic tracepoint, for kernels that preempt BPF programs at raw tracepoints (7.2
 * does, 6.12 does not). There, all runs of a program on a processor are skipped until the one that
 * was preempted goes on, and under load that was more than half of them. Classic tracepoints run
 * with preemption off.
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
 * The quick way: the kernel hands over pointers whose type it knows, and they are followed by plain
 * loads (which read as 0 where nothing is mapped) instead of a call for each.
 */

/* What can be told of the root directory of a mount without a call. */
static __always_inline bool may_be_initramfs(struct vfsmount *mnt)
{
	unsigned long magic = mnt->mnt_sb->s_magic;

	return magic == RAMFS_MAGIC || magic == TMPFS_MAGIC;
}

/*
 * Walk up to the root directory, as long as no mount has to be crossed: from a struct vfsmount to
 * the struct mount around it, the verifier allows no plain load. walk() does the rest.
 *
 * Return: bytes written, or one of enum walk_failure.
 */
static __always_inline int walk_quickly(struct scratch *scratch, u32 key, struct file *file,
					struct fs_struct *fs)
{
	struct dentry *dentry = file->f_path.dentry, *root_dentry = fs->root.dentry;
	struct vfsmount *mnt = file->f_path.mnt, *root_mnt = fs->root.mnt;
	struct dentry *end = mnt == root_mnt ? root_dentry : mnt->mnt_root;
	int i;

	scratch->used_bytes = 0;
	for (i = 0; i < QUICK_DEPTH_LIMIT && dentry != end; i++) {
		struct dentry *parent = dentry->d_parent;

		if (parent == dentry)
			break;
		if (!add_component(scratch, dentry->d_name.len, dentry->d_name.name))
			return WALK_TOO_LONG;
		dentry = parent;
	}
	if (dentry == end && mnt == root_mnt)
		return scratch->used_bytes;
	scratch->dentry = (u64)dentry;
	scratch->mnt = (u64)mnt;
	scratch->root_dentry = (u64)root_dentry;
	scratch->root_mnt = (u64)root_mnt;
	return walk(key);
}

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
 * A descriptor gets its file. Duplicates and files that come over sockets do, too, so the system
 * call has to be one that opens; io_uring's worker threads are in none, and io_uring_enter(2) can
 * do whatever a worker can.
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
		if (!(task->thread_info.status & TS_COMPAT ? opens_compat(number) : opens(number)) &&
		    number != SYSCALL_IO_URING_ENTER)
			return 0;
	}
	record_quickly(ctx, SCRATCH_SYSCALL, BOOTPROF_OPEN, task, file, 0, 0);
	return 0;
}

/* The program loader maps files, too; those are not mmap(2). */
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
 * The script of an execve(2). Its struct file is gone by now (the kernel has gone on to the
 * interpreter), so what is left is the name that was given and the working directory.
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
 * The script alone, where the rest is seen by saw_exec_classic: over at once for all that is not a
 * script, because a run that is preempted costs others (see saw_sys_exit_classic). Attached before
 * that one, so that a script comes before its interpreter.
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(saw_script, struct task_struct *task, pid_t old_pid, struct linux_binprm *program)
{
	const char *name = program->filename;

	if (program->interp != name && wanted(BOOTPROF_EXEC))
		record_script(ctx, name);
	return 0;
}

/* Until 6.0: the interpreter is the first file in the memory map that is not the program. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(saw_exec_vma_list, struct task_struct *task, pid_t old_pid,
	     struct linux_binprm *program)
{
	/* What overlayfs maps is another struct file of the same name. */
	struct dentry *own = program->file->f_path.dentry;
	struct vm_area_struct *area;
	int i;

	if (!wanted(BOOTPROF_EXEC))
		return 0;
	record_exec(ctx, program);
	area = BPF_CORE_READ(task, mm, mmap);
	for (i = 0; i < VMA_LIMIT && area; i++) {
		struct file *mapped = BPF_CORE_READ(area, vm_file);

		if (mapped && BPF_CORE_READ(mapped, f_path.dentry) != own) {
			record_file(ctx, SCRATCH_EXEC, BOOTPROF_MAP, mapped, 0, 0);
			return 0;
		}
		area = BPF_CORE_READ(area, vm_next);
	}
	return 0;
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
 * Since 5.17 (7c7e3d31e785): the interpreter is where the process is going to start. What overlayfs
 * maps is another struct file of the same name.
 */
static __always_inline void record_elf_interpreter(void *context, u32 key,
						    struct file *program)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct found_area found = {};
	struct file *mapped;

	if (bpf_find_vma(task, BPF_CORE_READ(regs, ip), found_area, &found, 0)) {
		count_loss(BOOTPROF_LOST_FILE);
		return;
	}
	mapped = found.file;
	if (mapped && BPF_CORE_READ(mapped, f_path.dentry) != BPF_CORE_READ(program, f_path.dentry))
		record_file(context, key, BOOTPROF_MAP, mapped, 0, 0);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(saw_exec_find_vma, struct task_struct *task, pid_t old_pid,
	     struct linux_binprm *program)
{
	if (!wanted(BOOTPROF_EXEC))
		return 0;
	record_exec(ctx, program);
	record_elf_interpreter(ctx, SCRATCH_EXEC, program->file);
	return 0;
}

/* With preemption off; its arguments do not lead to the program, but the process does. */
SEC("tp/sched/sched_process_exec")
int saw_exec_classic(void *fields)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct file *program = BPF_CORE_READ(task, mm, exe_file);

	if (!wanted(BOOTPROF_EXEC))
		return 0;
	record_file(fields, SCRATCH_EXEC_CLASSIC, BOOTPROF_EXEC, program, 0, 0);
	record_elf_interpreter(fields, SCRATCH_EXEC_CLASSIC, program);
	return 0;
}

/* A name of a file in its file system; there may be others, which the loader sorts out. */
static __always_inline bool set_alias(struct scratch *scratch, u32 key, struct inode *inode)
{
	struct hlist_node *node = BPF_CORE_READ(inode, i_dentry.first);
	u64 dentry;
	int length;

	if (!node)
		return true;
	if (bpf_core_field_exists(struct dentry, d_u))
		dentry = (u64)node - bpf_core_field_offset(struct dentry, d_u.d_alias);
	else
		dentry = (u64)node - bpf_core_field_offset(struct dentry___unnamed, d_alias);
	scratch->used_bytes = 0;
	scratch->dentry = dentry;
	scratch->mnt = 0;
	scratch->root_dentry = 0;
	scratch->root_mnt = 1;
	length = walk(key);
	if (length < 0 || length > BOOTPROF_PATH_LIMIT) {
		count_loss(BOOTPROF_LOST_PATH);
		return false;
	}
	scratch->event.path_bytes = length;
	return true;
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

	/* Neither block devices (the tables of a squashfs, say) nor directories. */
	if (!inode || (BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return;
	/*
	 * A file behind a loop device: loop_configure() forbids I/O in allocations for its pages,
	 * and nothing else does. What is read through the device is recorded already.
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

static __always_inline u64 folio_pages(struct folio *folio)
{
	unsigned long flags;

	if (bpf_core_field_exists(((struct folio___wrapped *)0)->flags.f))
		flags = BPF_CORE_READ((struct folio___wrapped *)folio, flags.f);
	else
		flags = BPF_CORE_READ(folio, flags);
	if (!(flags >> bpf_core_enum_value(enum pageflags, PG_head) & 1))
		return 1;
	if (bpf_core_field_exists(folio->_folio_order))
		return 1ULL << (BPF_CORE_READ(folio, _folio_order) & 0x1f);
	return 1ULL << (BPF_CORE_READ(folio, _flags_1) & 0x1f);
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int saw_cache(u64 *ctx)
{
	u64 first, pages = 1;
	struct address_space *mapping;

	if (!wanted(BOOTPROF_CACHE))
		return 0;
	if (bpf_core_type_exists(struct folio)) {
		struct folio *folio = (struct folio *)ctx[0];

		mapping = BPF_CORE_READ(folio, mapping);
		first = BPF_CORE_READ(folio, index);
		pages = folio_pages(folio);
	} else {
		struct page *page = (struct page *)ctx[0];

		mapping = BPF_CORE_READ(page, mapping);
		first = BPF_CORE_READ(page, index);
	}
	record_pages(ctx, SCRATCH_CACHE, BOOTPROF_CACHE, mapping, first, pages);
	return 0;
}

SEC("tp_btf/mm_filemap_get_pages")
int BPF_PROG(saw_read, struct address_space *mapping, unsigned long first, unsigned long end)
{
	if (wanted(BOOTPROF_READ) && end > first)
		record_pages(ctx, SCRATCH_READ, BOOTPROF_READ, mapping, first, end - first);
	return 0;
}

/* A page fault that found no page in memory. */
SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(saw_fault, struct address_space *mapping, unsigned long first)
{
	if (wanted(BOOTPROF_FAULT))
		record_pages(ctx, SCRATCH_FAULT, BOOTPROF_FAULT, mapping, first, 1);
	return 0;
}

/* A page fault that found its page there, and maps its neighbours with it. */
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
