// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_table.c - opens seen through the system call table
 *
 * Entries of the calls that open are replaced by functions which make the call and log the file
 * behind the descriptor that it returns. This works on kernels that dispatch through the table:
 * since the fix for branch history injection (1e3ad78334a6, "x86/syscall: Don't force use of
 * indirect calls for system calls", in 6.9, 6.8.5, 6.6.26, 6.1.85 and 5.15.154) the table is data
 * that nothing reads. Symbols, and not the version, tell what a kernel does. From 5.18 on, ftrace
 * mode is used in any case; see bootprof_table_dispatches().
 *
 * A call may sleep in a replaced function (an open of a pipe, say), and the module must not go
 * before it has returned: it holds a reference, so that rmmod(8) is refused.
 */

#include "bootprof.h"

#include <linux/delay.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/unistd.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>

typedef asmlinkage long (*system_call_t)(const struct pt_regs *regs);

/* How far behind the code the table may be; it is near the beginning of the read-only data. */
#define SCAN_BYTES	(16UL << 20)
#define SYMBOL_SIZE	64

/**
 * struct table - a system call table
 * @symbol: its name in kallsyms, where that has data symbols
 * @prefix: of the functions in it
 * @address: NULL until it is found
 * @known: calls that tell the table, and the addresses of their functions
 */
struct table {
	const char *symbol;
	const char *prefix;
	system_call_t *address;
	struct {
		unsigned int number;
		const char *name;
		unsigned long address;
	} known[3];
};

/* The kernel's code. */
static unsigned long text_start, text_end;

static struct table native = {
	.symbol = "sys_call_table",
	.prefix = IS_ENABLED(CONFIG_X86_64) ? "__x64_sys_" : "__ia32_sys_",
	.known = { { __NR_read, "read" }, { __NR_write, "write" }, { __NR_close, "close" } },
};

#ifdef CONFIG_IA32_EMULATION
/* Numbers of the calls of 32-bit programs: arch/x86/entry/syscalls/syscall_32.tbl */
static struct table compat = {
	.symbol = "ia32_sys_call_table",
	.prefix = "__ia32_sys_",
	.known = { { 3, "read" }, { 4, "write" }, { 6, "close" } },
};
#endif

/**
 * struct replacement - an entry of a table
 * @table: the table
 * @number: of the call
 * @function: what replaces it
 * @original: what was there, once it has been replaced for the first time
 * @placed: whether it is replaced now
 */
struct replacement {
	struct table *table;
	unsigned int number;
	system_call_t function;
	system_call_t original;
	bool placed;
};

/* Calls in a replaced function. */
static atomic_t inside = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(left);

static noinline long watch_call(const struct replacement *replacement, const struct pt_regs *regs)
{
	system_call_t original;
	struct file *file;
	bool referenced;
	long result;

	atomic_inc(&inside);
	/* False while the module is on its way out, which then waits for @inside. */
	referenced = try_module_get(THIS_MODULE);
	original = READ_ONCE(replacement->original);
	result = original(regs);
	file = result >= 0 ? fget(result) : NULL;
	if (file) {
		preempt_disable();
		bootprof_log_opened(file);
		preempt_enable();
		fput(file);
	}
	if (referenced)
		module_put(THIS_MODULE);
	if (atomic_dec_and_test(&inside))
		wake_up(&left);
	return result;
}

#define REPLACEMENT(name)							\
	static asmlinkage long watched_##name(const struct pt_regs *regs)	\
	{									\
		return watch_call(&replacements[REPLACE_##name], regs);		\
	}

enum {
	REPLACE_open, REPLACE_creat, REPLACE_openat, REPLACE_openat2,
	REPLACE_open_by_handle_at,
#ifdef CONFIG_IA32_EMULATION
	REPLACE_compat_open, REPLACE_compat_creat, REPLACE_compat_openat, REPLACE_compat_openat2,
	REPLACE_compat_open_by_handle_at,
#endif
	REPLACE_COUNT
};

static struct replacement replacements[REPLACE_COUNT];

REPLACEMENT(open)
REPLACEMENT(creat)
REPLACEMENT(openat)
REPLACEMENT(openat2)
REPLACEMENT(open_by_handle_at)
#ifdef CONFIG_IA32_EMULATION
REPLACEMENT(compat_open)
REPLACEMENT(compat_creat)
REPLACEMENT(compat_openat)
REPLACEMENT(compat_openat2)
REPLACEMENT(compat_open_by_handle_at)
#endif

static struct replacement replacements[REPLACE_COUNT] = {
	[REPLACE_open] = { &native, __NR_open, watched_open },
	[REPLACE_creat] = { &native, __NR_creat, watched_creat },
	[REPLACE_openat] = { &native, __NR_openat, watched_openat },
	[REPLACE_openat2] = { &native, __NR_openat2, watched_openat2 },
	[REPLACE_open_by_handle_at] = {
		&native, __NR_open_by_handle_at, watched_open_by_handle_at
	},
#ifdef CONFIG_IA32_EMULATION
	[REPLACE_compat_open] = { &compat, 5, watched_compat_open },
	[REPLACE_compat_creat] = { &compat, 8, watched_compat_creat },
	[REPLACE_compat_openat] = { &compat, 295, watched_compat_openat },
	[REPLACE_compat_openat2] = { &compat, 437, watched_compat_openat2 },
	[REPLACE_compat_open_by_handle_at] = {
		&compat, 342, watched_compat_open_by_handle_at
	},
#endif
};

/**
 * bootprof_table_dispatches() - whether opens can be seen through the system call table
 *
 * Not from 5.18 on: since cc66bb914578 ("x86/ibt,kprobes: Cure sym+0 equals fentry woes") a kprobe
 * reads the memory at the symbol that it looks up, and that at _etext need not be mapped. ftrace
 * sees the same opens there.
 *
 * Return: whether this kernel dispatches through it, and is old enough.
 */
bool bootprof_table_dispatches(void)
{
	struct bootprof_symbol switches[] = { { "x64_sys_call" }, { "ia32_sys_call" } };

	return LINUX_VERSION_CODE < KERNEL_VERSION(5, 18, 0) &&
	       !bootprof_symbols_find(switches, ARRAY_SIZE(switches)) &&
	       !switches[0].address && !switches[1].address;
}

/* Whether a table is at an address: known calls in their places, and code in all the others. */
static bool is_table(const struct table *table, unsigned long address)
{
	size_t i;

	for (i = 0; i <= __NR_openat; i++) {
		unsigned long entry;

		if (copy_from_kernel_nofault(&entry, (void *)(address + i * sizeof(entry)),
					     sizeof(entry)) ||
		    entry < text_start || entry >= text_end)
			return false;
	}
	for (i = 0; i < ARRAY_SIZE(table->known); i++)
		if (((unsigned long *)address)[table->known[i].number] != table->known[i].address)
			return false;
	return true;
}

/* Look for a table in what follows the kernel's code, where the names of data are not known. */
static unsigned long scan(const struct table *table)
{
	unsigned long start = PAGE_ALIGN(text_end);
	unsigned long first = table->known[0].address;
	unsigned long *page = kmalloc(PAGE_SIZE, GFP_KERNEL);
	unsigned long address, found = 0;
	size_t i;

	for (address = start; page && !found && address < start + SCAN_BYTES;
	     address += PAGE_SIZE) {
		/* Gaps between sections are not mapped. */
		if (copy_from_kernel_nofault(page, (void *)address, PAGE_SIZE))
			continue;
		for (i = 0; i < PAGE_SIZE / sizeof(*page) && !found; i++) {
			unsigned long candidate = address + i * sizeof(*page) -
						  table->known[0].number * sizeof(*page);

			if (page[i] == first && is_table(table, candidate))
				found = candidate;
		}
		cond_resched();
	}
	kfree(page);
	return found;
}

/* Look up the kernel's code, the table by its name, and the functions of the known calls. */
static int look_up(struct table *table, unsigned long *address)
{
	char names[ARRAY_SIZE(table->known)][SYMBOL_SIZE];
	struct bootprof_symbol symbols[ARRAY_SIZE(table->known) + 3] = {
		{ "_stext" }, { "_etext" }, { table->symbol },
	};
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(table->known); i++) {
		snprintf(names[i], sizeof(names[i]), "%s%s", table->prefix, table->known[i].name);
		symbols[3 + i].name = names[i];
	}
	err = bootprof_symbols_find(symbols, ARRAY_SIZE(symbols));
	if (err)
		return err;
	text_start = symbols[0].address;
	text_end = symbols[1].address;
	*address = symbols[2].address;
	for (i = 0; i < ARRAY_SIZE(table->known); i++) {
		table->known[i].address = symbols[3 + i].address;
		if (!table->known[i].address) {
			pr_err("this kernel has no %s()\n", names[i]);
			return -ENOENT;
		}
	}
	return 0;
}

static int find(struct table *table, long offset, bool only_scan)
{
	const char *how = "kallsyms";
	unsigned long address;
	int err;

	err = look_up(table, &address);
	if (err)
		return err;
	if (offset) {
		address = text_start + offset;
		how = "parameter";
		if (!is_table(table, address)) {
			pr_err("no %s at table_offset=%ld\n", table->symbol, offset);
			return -EINVAL;
		}
	}
	if (!address || (only_scan && !offset) || !is_table(table, address)) {
		address = scan(table);
		how = "scan";
	}
	if (!address) {
		pr_err("%s not found\n", table->symbol);
		return -ENOENT;
	}
	table->address = (system_call_t *)address;
	pr_info("%s found by %s\n", table->symbol, how);
	return 0;
}

/**
 * bootprof_table_find() - find the system call tables
 * @offset: distance of the table from the symbol _stext, out of a System.map; 0 if not known
 * @only_scan: do as if kallsyms had no names of data
 *
 * Each way is verified before anything is written.
 *
 * Return: 0 or a negative error.
 */
int bootprof_table_find(long offset, bool only_scan)
{
	int err = find(&native, offset, only_scan);

#ifdef CONFIG_IA32_EMULATION
	if (!err)
		err = find(&compat, 0, only_scan);
#endif
	return err;
}

/* Write an entry. The table is read-only; a second mapping of its page is not. */
static int write_entry(system_call_t *entry, system_call_t function)
{
	struct page *page = pfn_to_page(__pa(entry) >> PAGE_SHIFT);
	void *mapping = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	if (!mapping)
		return -ENOMEM;
	WRITE_ONCE(*(system_call_t *)(mapping + offset_in_page(entry)), function);
	vunmap(mapping);
	return READ_ONCE(*entry) == function ? 0 : -EIO;
}

/**
 * bootprof_table_stop() - put the original calls back
 *
 * An entry that another module has replaced since stays, and goes on to be logged.
 */
void bootprof_table_stop(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(replacements); i++) {
		struct replacement *replacement = &replacements[i];
		system_call_t *entry = replacement->table->address + replacement->number;

		if (replacement->placed && READ_ONCE(*entry) == replacement->function &&
		    !write_entry(entry, replacement->original))
			replacement->placed = false;
	}
}

/**
 * bootprof_table_start() - replace the calls that open
 *
 * Return: 0 or a negative error, and then nothing is replaced.
 */
int bootprof_table_start(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(replacements); i++) {
		struct replacement *replacement = &replacements[i];
		system_call_t *entry = replacement->table->address + replacement->number;
		int err;

		if (replacement->placed)
			continue;
		WRITE_ONCE(replacement->original, READ_ONCE(*entry));
		err = write_entry(entry, replacement->function);
		if (err) {
			pr_err("cannot replace system call %u: error %d\n", replacement->number,
			       err);
			bootprof_table_stop();
			return err;
		}
		replacement->placed = true;
	}
	return 0;
}

static bool all_restored(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(replacements); i++)
		if (replacements[i].placed)
			return false;
	return true;
}

/**
 * bootprof_table_leave() - wait until no call is inside a replaced function, or about to enter one
 *
 * The reference that each call holds makes rmmod(8) wait. What is left is a call that had read the
 * table but not taken its reference.
 */
void bootprof_table_leave(void)
{
	bootprof_table_stop();
	while (!all_restored()) {
		pr_err_ratelimited("another module has replaced system calls; waiting for it\n");
		msleep(1000);
		bootprof_table_stop();
	}
	synchronize_rcu_tasks();
	wait_event(left, !atomic_read(&inside));
	synchronize_rcu_tasks();
}
