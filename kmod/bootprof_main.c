// SPDX-License-Identifier: GPL-2.0
/*
 * bootprof - record which files a boot opens, executes, maps and reads, in order
 *
 * The module is loaded in the initramfs, before the root file system is mounted. It watches the
 * entry of the kernel functions that every access goes through (ftrace mode), or replaces entries
 * of the system call table where that is what the kernel dispatches through (table mode). The log
 * is in debugfs/bootprof/; see bootprof_debugfs.c.
 */

#include "bootprof.h"

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

static ulong max_bytes = 64UL << 20;
module_param(max_bytes, ulong, 0444);
MODULE_PARM_DESC(max_bytes, "memory for events in bytes; what does not fit is counted as dropped");

static char *initramfs_root = "/root";
module_param(initramfs_root, charp, 0444);
MODULE_PARM_DESC(initramfs_root, "where the initramfs mounts the root; cut from early paths");

static bool autostart = true;
module_param(autostart, bool, 0444);
MODULE_PARM_DESC(autostart, "record from the moment of loading");

static bool ranges;
module_param(ranges, bool, 0444);
MODULE_PARM_DESC(ranges, "record which parts of files are read and faulted in");

static char *hook = "auto";
module_param(hook, charp, 0444);
MODULE_PARM_DESC(hook, "auto, table (system call table) or ftrace");

static long table_offset;
module_param(table_offset, long, 0444);
MODULE_PARM_DESC(table_offset, "distance of sys_call_table from _stext, as in System.map");

static bool table_scan;
module_param(table_scan, bool, 0444);
MODULE_PARM_DESC(table_scan, "find sys_call_table without its name");

static bool by_table;
/* Whether hooks are in place. Protected by log_lock. */
static bool running;

const char *mode_name(void)
{
	return by_table ? "table" : "ftrace";
}

unsigned long mode_max_bytes(void)
{
	return max_bytes;
}

bool is_running(void)
{
	return running;
}

/**
 * start_recording() - put the hooks in place
 *
 * Context: process; log_lock is held.
 * Return: 0 or a negative error, and then none is in place.
 */
int start_recording(void)
{
	int err;

	if (running)
		return 0;
	err = watch_start(!by_table, ranges);
	if (!err && by_table) {
		err = table_start();
		if (err)
			watch_stop(!by_table);
	}
	running = !err;
	return err;
}

/**
 * stop_recording() - take the hooks away
 *
 * Context: process; log_lock is held.
 */
void stop_recording(void)
{
	if (!running)
		return;
	if (by_table)
		table_stop();
	watch_stop(!by_table);
	running = false;
}

/* Decide on the mode, and find what it needs. */
static int choose_mode(void)
{
	if (!strcmp(hook, "auto")) {
		by_table = table_dispatches();
	} else if (!strcmp(hook, "table")) {
		if (!table_dispatches()) {
			pr_err("this kernel does not use sys_call_table: hook=ftrace or auto\n");
			return -EOPNOTSUPP;
		}
		by_table = true;
	} else if (strcmp(hook, "ftrace")) {
		pr_err("hook=%s: must be auto, table or ftrace\n", hook);
		return -EINVAL;
	}
	return by_table ? table_find(table_offset, table_scan) : 0;
}

static int __init bootprof_init(void)
{
	int err;

	log_init(max_bytes, initramfs_root);
	err = watch_find_symbols();
	if (err)
		return err;
	err = choose_mode();
	if (err)
		return err;
	err = debugfs_start();
	if (err)
		return err;
	mutex_lock(&log_lock);
	if (autostart)
		err = start_recording();
	mutex_unlock(&log_lock);
	if (err)
		goto remove_files;
	pr_info("mode %s, %lu bytes at most\n", mode_name(), max_bytes);
	return 0;

remove_files:
	debugfs_stop();
	return err;
}

static void __exit bootprof_exit(void)
{
	debugfs_stop();
	mutex_lock(&log_lock);
	stop_recording();
	if (by_table)
		table_leave();
	log_clear();
	mutex_unlock(&log_lock);
}

module_init(bootprof_init);
module_exit(bootprof_exit);

MODULE_DESCRIPTION("Records the files that a boot opens, executes, maps and reads");
MODULE_LICENSE("GPL");
