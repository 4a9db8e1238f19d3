// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_control.c - the mode, and when recording starts and stops
 *
 * Calls the parts that record (watch, table, ranges) and the log in the order that they need. None
 * of them calls this file; debugfs and module loading do.
 */

#include "bootprof.h"

#include <linux/list.h>
#include <linux/string.h>

/*
 * Protects the state of recording: all below, and which hooks are in place. Taken before the lock
 * of the log, never after it.
 */
DEFINE_MUTEX(bootprof_control_lock);

static bool by_table;
static bool with_ranges;
/* Whether hooks are in place. */
static bool running;

/* Decide on the mode, and find what it needs. */
static int choose_mode(const struct bootprof_options *options)
{
	if (!strcmp(options->hook, "auto")) {
		by_table = bootprof_table_dispatches();
	} else if (!strcmp(options->hook, "table")) {
		if (!bootprof_table_dispatches()) {
			pr_err("hook=table needs a kernel before 5.18 that uses sys_call_table; use ftrace or auto\n");
			return -EOPNOTSUPP;
		}
		by_table = true;
	} else if (strcmp(options->hook, "ftrace")) {
		pr_err("hook=%s: must be auto, table or ftrace\n", options->hook);
		return -EINVAL;
	}
	return by_table ? bootprof_table_find(options->table_offset, options->table_scan) : 0;
}

/**
 * bootprof_control_init() - find what is watched, and decide on the mode; records nothing yet
 * @options: parameters of the module
 *
 * Context: process, before any other function of this file.
 * Return: 0 or a negative error.
 */
int bootprof_control_init(const struct bootprof_options *options)
{
	int err;

	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		pr_err("not for real-time kernels: their allocator may sleep inside a hook\n");
		return -EOPNOTSUPP;
	}
	with_ranges = options->ranges;
	bootprof_log_init(options->max_bytes, options->initramfs_root);
	err = bootprof_watch_find_symbols();
	return err ? err : choose_mode(options);
}

/**
 * bootprof_control_start() - put the hooks in place
 *
 * Context: process; bootprof_control_lock is held.
 * Return: 0 or a negative error, and then none is in place.
 */
int bootprof_control_start(void)
{
	int err;

	lockdep_assert_held(&bootprof_control_lock);
	if (running)
		return 0;
	err = bootprof_watch_start(!by_table, with_ranges);
	if (!err && by_table) {
		err = bootprof_table_start();
		if (err)
			bootprof_watch_stop(!by_table);
	}
	running = !err;
	return err;
}

/**
 * bootprof_control_stop() - take the hooks away
 *
 * Context: process; bootprof_control_lock is held.
 */
void bootprof_control_stop(void)
{
	lockdep_assert_held(&bootprof_control_lock);
	if (!running)
		return;
	if (by_table)
		bootprof_table_stop();
	bootprof_watch_stop(!by_table);
	running = false;
}

/**
 * bootprof_control_clear() - forget all events, and which pages were seen
 *
 * Hooks may run meanwhile; what they see after this function began may stay in the log. Once they
 * are gone, nothing stays.
 *
 * Context: process; bootprof_control_lock is held.
 */
void bootprof_control_clear(void)
{
	HLIST_HEAD(files);

	lockdep_assert_held(&bootprof_control_lock);
	/* Events share the path of their file: first no new ones of it, then the old ones freed. */
	bootprof_ranges_detach(&files);
	bootprof_log_clear();
	bootprof_ranges_free(&files);
	bootprof_watch_forget();
}

/**
 * bootprof_control_exit() - stop, wait until no call is inside the module, and free the log
 *
 * Context: process, after the last call of any other function of this file.
 */
void bootprof_control_exit(void)
{
	mutex_lock(&bootprof_control_lock);
	bootprof_control_stop();
	if (by_table)
		bootprof_table_leave();
	bootprof_control_clear();
	mutex_unlock(&bootprof_control_lock);
}

/**
 * bootprof_control_running() - whether hooks are in place
 *
 * Context: bootprof_control_lock is held.
 * Return: whether they are.
 */
bool bootprof_control_running(void)
{
	lockdep_assert_held(&bootprof_control_lock);
	return running;
}

/**
 * bootprof_control_mode() - name of the mode, which bootprof_control_init() has chosen
 *
 * Return: "table" or "ftrace".
 */
const char *bootprof_control_mode(void)
{
	return by_table ? "table" : "ftrace";
}
