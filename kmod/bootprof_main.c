// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
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

static struct bootprof_options options = {
	.hook = "auto",
	.initramfs_root = "/root",
	.max_bytes = 64UL << 20,
};

module_param_named(max_bytes, options.max_bytes, ulong, 0444);
MODULE_PARM_DESC(max_bytes, "memory for events in bytes; what does not fit is counted as dropped");

module_param_named(initramfs_root, options.initramfs_root, charp, 0444);
MODULE_PARM_DESC(initramfs_root, "where the initramfs mounts the root; cut from early paths");

module_param_named(ranges, options.ranges, bool, 0444);
MODULE_PARM_DESC(ranges, "record which parts of files are read and faulted in");

module_param_named(hook, options.hook, charp, 0444);
MODULE_PARM_DESC(hook, "auto, table (system call table) or ftrace");

module_param_named(table_offset, options.table_offset, long, 0444);
MODULE_PARM_DESC(table_offset, "distance of sys_call_table from _stext, as in System.map");

module_param_named(table_scan, options.table_scan, bool, 0444);
MODULE_PARM_DESC(table_scan, "find sys_call_table without its name");

static bool autostart = true;
module_param(autostart, bool, 0444);
MODULE_PARM_DESC(autostart, "record from the moment of loading");

static int __init bootprof_init(void)
{
	int err;

	err = bootprof_control_init(&options);
	if (err)
		return err;
	err = bootprof_debugfs_start();
	if (err)
		return err;
	if (autostart) {
		mutex_lock(&bootprof_control_lock);
		err = bootprof_control_start();
		mutex_unlock(&bootprof_control_lock);
	}
	if (err)
		goto remove_files;
	pr_info("mode %s, %lu bytes at most\n", bootprof_control_mode(), options.max_bytes);
	return 0;

remove_files:
	bootprof_debugfs_stop();
	bootprof_control_exit();
	return err;
}

static void __exit bootprof_exit(void)
{
	bootprof_debugfs_stop();
	bootprof_control_exit();
}

module_init(bootprof_init);
module_exit(bootprof_exit);

MODULE_DESCRIPTION("Records the files that a boot opens, executes, maps and reads");
MODULE_LICENSE("GPL");
