// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_watch.c - accesses seen at the entry of kernel functions
 *
 * Nothing is redirected and nothing sleeps here: ftrace (or a kprobe, in table mode) calls a
 * function of this file with the registers, which hold the arguments, and goes on. Preemption is
 * off in both. So the module can be unloaded at any time.
 */

#include "bootprof.h"

#include <linux/binfmts.h>
#include <linux/ftrace.h>
#include <linux/hash.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/ptrace.h>
#include <linux/spinlock.h>
#include <linux/uio.h>
#include <linux/version.h>

#define HELD_BITS	6

/*
 * Executions that may still fail, by task. A chain is short: the files of one execve(2) call are
 * the script and its interpreter.
 */
static struct list_head held[1 << HELD_BITS];
/* Protects @held. */
static DEFINE_SPINLOCK(held_lock);

/* Functions whose calls of fd_install() are opens. */
static struct bootprof_symbol openers[] = {
	{ .name = "do_sys_openat2" },
	{ .name = "io_openat2" },
	{ .name = "do_handle_open" },
};

static struct list_head *held_chain(void)
{
	return &held[hash_ptr(current, HELD_BITS)];
}

/* Publish the held events of the current task, or free them. */
static void release_held(bool succeeded)
{
	struct bootprof_event *event, *next;
	unsigned long flags;
	LIST_HEAD(released);

	spin_lock_irqsave(&held_lock, flags);
	list_for_each_entry_safe(event, next, held_chain(), link)
		if (event->task == current)
			list_move_tail(&event->link, &released);
	spin_unlock_irqrestore(&held_lock, flags);
	list_for_each_entry_safe(event, next, &released, link) {
		if (succeeded)
			bootprof_log_publish(event);
		else
			bootprof_log_free_event(event);
	}
}

/*
 * fd_install(number, file) ends every successful open(2), openat(2), openat2(2), creat(2) and
 * open_by_handle_at(2), of 32-bit programs too, and those of io_uring. The address that it
 * returns to tells them from dup(2), pipe(2) and the like.
 */
static void saw_fd_install(struct pt_regs *regs, unsigned long parent_ip)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(openers); i++)
		if (parent_ip - openers[i].address < openers[i].size)
			break;
	if (i < ARRAY_SIZE(openers))
		bootprof_log_opened((struct file *)regs_get_kernel_argument(regs, 1));
}

/*
 * security_bprm_check(program) gets each file of an execve(2): the script, then its interpreter.
 * The event waits for saw_setup_new_exec().
 */
static void saw_bprm_check(struct pt_regs *regs, unsigned long parent_ip)
{
	const struct linux_binprm *program = (void *)regs_get_kernel_argument(regs, 0);
	struct bootprof_event *event;
	unsigned long flags;

	/* The first file of a call; what an earlier call has left came to nothing. */
	if (program->interp == program->filename)
		release_held(false);
	event = bootprof_log_make_event(&program->file->f_path, file_inode(program->file),
					BOOTPROF_EXEC);
	if (!event)
		return;
	event->task = current;
	spin_lock_irqsave(&held_lock, flags);
	list_add_tail(&event->link, held_chain());
	spin_unlock_irqrestore(&held_lock, flags);
}

/* Past setup_new_exec(program) an execve(2) cannot return to the program that called it. */
static void saw_setup_new_exec(struct pt_regs *regs, unsigned long parent_ip)
{
	release_held(true);
}

/* do_exit(): the last execve(2) of the task may have failed. */
static void saw_exit(struct pt_regs *regs, unsigned long parent_ip)
{
	release_held(false);
}

/*
 * security_mmap_file(file, protection, flags) is called for each mapping, those among them that
 * the kernel makes for a program and its ELF interpreter. What is mapped to a fixed address is a
 * further segment of a file whose first one was mapped before.
 */
static void saw_mmap_file(struct pt_regs *regs, unsigned long parent_ip)
{
	struct file *file = (struct file *)regs_get_kernel_argument(regs, 0);
	unsigned long flags = regs_get_kernel_argument(regs, 2);
	struct bootprof_event *event;

	if (!file || (flags & MAP_FIXED))
		return;
	event = bootprof_log_make_event(&file->f_path, file_inode(file), BOOTPROF_MAP);
	if (event)
		bootprof_log_publish(event);
}

/* kernel_read_file(file, offset, ...) reads firmware and modules, which the kernel may open. */
static void saw_kernel_read_file(struct pt_regs *regs, unsigned long parent_ip)
{
	struct file *file = (struct file *)regs_get_kernel_argument(regs, 0);
	struct bootprof_event *event;

	event = bootprof_log_make_event(&file->f_path, file_inode(file), BOOTPROF_READ);
	if (event)
		bootprof_log_publish(event);
}

/* filemap_read(iocb, destination, ...): any read through the page cache. */
static void saw_filemap_read(struct pt_regs *regs, unsigned long parent_ip)
{
	const struct kiocb *iocb = (void *)regs_get_kernel_argument(regs, 0);
	const struct iov_iter *destination = (void *)regs_get_kernel_argument(regs, 1);

	bootprof_ranges_saw(iocb->ki_filp, BOOTPROF_READ, iocb->ki_pos,
			    iov_iter_count(destination));
}

/*
 * filemap_map_pages(fault, ...) is tried first on a fault that reads; filemap_fault(fault) if the
 * page is not in the cache, or on a fault that writes.
 */
static void saw_fault(struct pt_regs *regs, unsigned long parent_ip)
{
	const struct vm_fault *fault = (void *)regs_get_kernel_argument(regs, 0);

	bootprof_ranges_saw(fault->vma->vm_file, BOOTPROF_FAULT,
			    (u64)fault->pgoff << PAGE_SHIFT, PAGE_SIZE);
}

/**
 * struct hook - a kernel function whose entry is watched
 * @symbol: its name
 * @old_symbol: the name that it had before, or NULL
 * @saw: what to do there
 * @only_ftrace: it needs to know the caller, which a kprobe is not told
 * @ranges: it is for parts of files
 * @address: of the function
 * @active: whether it is watched now
 * @probe: the kprobe, in table mode
 */
struct hook {
	const char *symbol;
	const char *old_symbol;
	void (*saw)(struct pt_regs *regs, unsigned long parent_ip);
	bool only_ftrace;
	bool ranges;
	unsigned long address;
	bool active;
	struct kprobe probe;
};

static struct hook hooks[] = {
	{ .symbol = "fd_install", .saw = saw_fd_install, .only_ftrace = true },
	/* 87fa0f3eb267 ("mm/filemap: rename generic_file_buffered_read to filemap_read"), 5.12 */
	{ .symbol = "filemap_read", .old_symbol = "generic_file_buffered_read",
	  .saw = saw_filemap_read, .ranges = true },
	{ .symbol = "filemap_map_pages", .saw = saw_fault, .ranges = true },
	{ .symbol = "filemap_fault", .saw = saw_fault, .ranges = true },
	{ .symbol = "security_mmap_file", .saw = saw_mmap_file },
	{ .symbol = "security_bprm_check", .saw = saw_bprm_check },
	{ .symbol = "setup_new_exec", .saw = saw_setup_new_exec },
	{ .symbol = "do_exit", .saw = saw_exit },
	{ .symbol = "kernel_read_file", .saw = saw_kernel_read_file },
};

static void handle_entry(unsigned long ip, unsigned long parent_ip, struct pt_regs *regs)
{
	size_t i;

	if (!regs)
		return;
	/*
	 * ftrace's call is the first or, after a landing pad, the second instruction:
	 * aebfd12521d9 ("x86/ibt,ftrace: Search for __fentry__ location", 5.18).
	 */
	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		if (ip - hooks[i].address < 2 * MCOUNT_INSN_SIZE) {
			hooks[i].saw(regs, parent_ip);
			return;
		}
	}
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
/* d19ad0775dcd ("ftrace: Have the callbacks receive a struct ftrace_regs [...]"), 5.11 */
static void notrace ftrace_entry(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
				 struct ftrace_regs *ftrace_regs)
{
	handle_entry(ip, parent_ip, ftrace_get_regs(ftrace_regs));
}
#else
/* a25d036d939a ("ftrace: Reverse what the RECURSION flag means in the ftrace_ops"), 5.11 */
#define FTRACE_OPS_FL_RECURSION 0
static void notrace ftrace_entry(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
				 struct pt_regs *regs)
{
	handle_entry(ip, parent_ip, regs);
}
#endif

/* One for all functions: to take it away, ftrace waits for every task once and not once each. */
static struct ftrace_ops ftrace_hook = {
	.func = ftrace_entry,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_RECURSION,
};

static bool ftrace_registered;
/* Calls that kprobes could not report, of probes that have been taken away. */
static unsigned long missed_before;

static int kprobe_entry(struct kprobe *probe, struct pt_regs *regs)
{
	container_of(probe, struct hook, probe)->saw(regs, 0);
	return 0;
}

static int place(struct hook *hook, bool by_ftrace)
{
	if (by_ftrace)
		return ftrace_set_filter_ip(&ftrace_hook, hook->address, 0, 0);
	/* Anew each time: a removed kprobe keeps what registering refuses. */
	hook->probe = (struct kprobe) {
		.addr = (kprobe_opcode_t *)hook->address,
		.pre_handler = kprobe_entry,
	};
	return register_kprobe(&hook->probe);
}

static void take_away(struct hook *hook, bool by_ftrace)
{
	if (by_ftrace) {
		ftrace_set_filter_ip(&ftrace_hook, hook->address, 1, 0);
		return;
	}
	unregister_kprobe(&hook->probe);
	missed_before += hook->probe.nmissed;
	hook->probe.nmissed = 0;
}

/**
 * bootprof_watch_stop() - stop watching; afterwards no CPU is in a function of this file
 * @by_ftrace: as it was started
 */
void bootprof_watch_stop(bool by_ftrace)
{
	size_t i;

	if (ftrace_registered)
		unregister_ftrace_function(&ftrace_hook);
	ftrace_registered = false;
	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		if (hooks[i].active)
			take_away(&hooks[i], by_ftrace);
		hooks[i].active = false;
	}
}

/**
 * bootprof_watch_start() - begin to watch
 * @by_ftrace: opens too, and by ftrace; else all but opens, by kprobes
 * @ranges: parts of files too
 *
 * Return: 0 or a negative error, and then nothing is watched.
 */
int bootprof_watch_start(bool by_ftrace, bool ranges)
{
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		struct hook *hook = &hooks[i];

		if ((hook->only_ftrace && !by_ftrace) || (hook->ranges && !ranges))
			continue;
		err = place(hook, by_ftrace);
		if (err) {
			pr_err("cannot watch %s(): error %d\n", hook->symbol, err);
			goto stop;
		}
		hook->active = true;
	}
	if (by_ftrace) {
		err = register_ftrace_function(&ftrace_hook);
		if (err) {
			pr_err("ftrace refuses: error %d\n", err);
			goto stop;
		}
		ftrace_registered = true;
	}
	return 0;

stop:
	bootprof_watch_stop(by_ftrace);
	return err;
}

/**
 * bootprof_watch_missed() - number of calls that kprobes could not report
 */
unsigned long bootprof_watch_missed(void)
{
	unsigned long missed = missed_before;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		missed += hooks[i].probe.nmissed;
	return missed;
}

/**
 * bootprof_watch_forget() - free the events of unfinished executions, and forget what was missed
 */
void bootprof_watch_forget(void)
{
	struct bootprof_event *event, *next;
	unsigned long flags;
	LIST_HEAD(released);
	size_t i;

	spin_lock_irqsave(&held_lock, flags);
	for (i = 0; i < ARRAY_SIZE(held); i++)
		list_splice_init(&held[i], &released);
	spin_unlock_irqrestore(&held_lock, flags);
	list_for_each_entry_safe(event, next, &released, link)
		bootprof_log_free_event(event);
	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		hooks[i].probe.nmissed = 0;
	missed_before = 0;
}

/**
 * bootprof_watch_name() - names of the functions that are watched
 * @i: from 0
 *
 * Return: the name, an empty string if function @i is not watched, NULL past the last one.
 */
const char *bootprof_watch_name(size_t i)
{
	if (i >= ARRAY_SIZE(hooks))
		return NULL;
	return hooks[i].active ? hooks[i].symbol : "";
}

/**
 * bootprof_watch_find_symbols() - find all that is watched in the kernel
 *
 * Return: 0 or a negative error.
 */
int bootprof_watch_find_symbols(void)
{
	/* Of each hook its name and its old name. */
	struct bootprof_symbol symbols[2 * ARRAY_SIZE(hooks)];
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(held); i++)
		INIT_LIST_HEAD(&held[i]);
	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		symbols[2 * i].name = hooks[i].symbol;
		symbols[2 * i + 1].name = hooks[i].old_symbol;
	}
	err = bootprof_symbols_find(symbols, ARRAY_SIZE(symbols));
	if (!err)
		err = bootprof_symbols_find(openers, ARRAY_SIZE(openers));
	if (err)
		return err;
	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		hooks[i].address = symbols[2 * i].address ?: symbols[2 * i + 1].address;
		if (!hooks[i].address) {
			pr_err("this kernel has no %s()\n", hooks[i].symbol);
			return -ENOENT;
		}
	}
	/* The others are for programs that a boot may well do without. */
	if (!openers[0].size) {
		pr_err("this kernel has no %s()\n", openers[0].name);
		return -ENOENT;
	}
	return 0;
}
