/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/*
 * bootprof.h - what the parts of bootprof share
 *
 *   bootprof_main.c     parameters, loading and unloading
 *   bootprof_debugfs.c  shows the log, and takes commands
 *   bootprof_control.c  chooses the mode, starts, stops and clears
 *   bootprof_watch.c    sees accesses at the entry of kernel functions
 *   bootprof_table.c    sees opens through the system call table
 *   bootprof_symbols.c  addresses of the kernel's functions and tables
 *   bootprof_ranges.c   which pages of which file were seen before
 *   bootprof_log.c      keeps events, in order, within bounds
 *
 * A file calls only files below it.
 */
#ifndef BOOTPROF_H
#define BOOTPROF_H

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/path.h>
#include <linux/sched.h>
#include <linux/types.h>

#define BOOTPROF_FS_NAME_SIZE	16

enum bootprof_operation {
	BOOTPROF_OPEN, BOOTPROF_EXEC, BOOTPROF_MAP, BOOTPROF_READ, BOOTPROF_FAULT,
};

/**
 * struct bootprof_options - parameters of the module, except "autostart"
 * @hook: "auto", "table" or "ftrace"
 * @initramfs_root: where the initramfs mounts the root
 * @max_bytes: memory for events
 * @ranges: whether to record parts of files
 * @table_offset: distance of sys_call_table from _stext in bytes, 0 if not known
 * @table_scan: find sys_call_table without its name
 */
struct bootprof_options {
	char *hook;
	char *initramfs_root;
	unsigned long max_bytes;
	bool ranges;
	long table_offset;
	bool table_scan;
};

/**
 * struct bootprof_event - one access to a file
 * @collected: entry on its CPU's list until it is gathered
 * @link: entry on the list of gathered events in order of @sequence, or on a chain of held ones
 * @seen: entry in the table of known paths, for the first event of a path
 * @sequence: place in the order of all events
 * @time: nanoseconds since boot
 * @inode: inode number
 * @offset: first byte of the file that was used
 * @length: number of bytes, 0 for the whole file or if it is not known
 * @size: bytes of memory that this event takes
 * @device: device of the file system
 * @pid: process (thread group) identifier
 * @operation: what was done
 * @first: whether no event before has this path (files of the initramfs, and those that are not
 * reachable from the real root, never count)
 * @task: the task that executes, while the event is held
 * @command: name of the task
 * @file_system: type of the file system
 * @path: path from bootprof_log_path(): @text, or that of a &struct ranged_file
 * @text: space for the path
 */
struct bootprof_event {
	struct llist_node collected;
	struct list_head link;
	struct hlist_node seen;
	u64 sequence;
	u64 time;
	u64 inode;
	u64 offset;
	u64 length;
	size_t size;
	dev_t device;
	pid_t pid;
	enum bootprof_operation operation;
	bool first;
	const void *task;
	char command[TASK_COMM_LEN];
	char file_system[BOOTPROF_FS_NAME_SIZE];
	const char *path;
	char text[];
};

/* bootprof_log.c */

extern struct mutex bootprof_log_lock;
extern struct list_head bootprof_log_events;
extern unsigned long bootprof_log_event_count;
extern unsigned long bootprof_log_generation;

void bootprof_log_init(unsigned long max_bytes, const char *initramfs_root);
bool bootprof_log_take_bytes(size_t size);
void bootprof_log_give_bytes(size_t size);
long bootprof_log_used_bytes(void);
unsigned long bootprof_log_max_bytes(void);
void bootprof_log_count_dropped(void);
long bootprof_log_dropped(void);
char *bootprof_log_path(const struct path *path, const struct inode *inode);
struct bootprof_event *bootprof_log_make_event(const struct path *path,
					       const struct inode *inode,
					       enum bootprof_operation operation);
struct bootprof_event *bootprof_log_make_range_event(const struct inode *inode, const char *path,
						     enum bootprof_operation operation,
						     u64 offset, u64 length);
void bootprof_log_free_event(struct bootprof_event *event);
void bootprof_log_publish(struct bootprof_event *event);
void bootprof_log_opened(struct file *file);
void bootprof_log_gather(void);
void bootprof_log_clear(void);

/* bootprof_ranges.c */

void bootprof_ranges_saw(struct file *file, enum bootprof_operation operation, u64 offset,
			 u64 length);
void bootprof_ranges_detach(struct hlist_head *detached);
void bootprof_ranges_free(struct hlist_head *detached);

/* bootprof_symbols.c */

/**
 * struct bootprof_symbol - a symbol of the kernel
 * @name: its name
 * @address: where it begins, 0 if the kernel has none of this name
 * @size: bytes up to the next symbol, 0 if not known
 */
struct bootprof_symbol {
	const char *name;
	unsigned long address;
	unsigned long size;
};

int bootprof_symbols_find(struct bootprof_symbol *symbols, size_t count);

/* bootprof_watch.c */

int bootprof_watch_find_symbols(void);
int bootprof_watch_start(bool by_ftrace, bool ranges);
void bootprof_watch_stop(bool by_ftrace);
void bootprof_watch_forget(void);
unsigned long bootprof_watch_missed(void);
const char *bootprof_watch_name(size_t i);

/* bootprof_table.c */

bool bootprof_table_dispatches(void);
int bootprof_table_find(long offset, bool only_scan);
int bootprof_table_start(void);
void bootprof_table_stop(void);
void bootprof_table_leave(void);

/* bootprof_control.c */

extern struct mutex bootprof_control_lock;

int bootprof_control_init(const struct bootprof_options *options);
int bootprof_control_start(void);
void bootprof_control_stop(void);
void bootprof_control_clear(void);
void bootprof_control_exit(void);
bool bootprof_control_running(void);
const char *bootprof_control_mode(void);

/* bootprof_debugfs.c */

int bootprof_debugfs_start(void);
void bootprof_debugfs_stop(void);

#endif
