/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bootprof.h - what the parts of bootprof share
 *
 *   bootprof_watch.c    sees accesses at the entry of kernel functions
 *   bootprof_table.c    sees opens through the system call table
 *   bootprof_ranges.c   which pages of which file were seen before
 *   bootprof_log.c      keeps events, in order, within bounds
 *   bootprof_debugfs.c  shows them
 *   bootprof_main.c     chooses the mode, starts and stops
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

#define FILE_SYSTEM_NAME_SIZE	16

enum operation { OPERATION_OPEN, OPERATION_EXEC, OPERATION_MAP, OPERATION_READ, OPERATION_FAULT };

/**
 * struct event - one access to a file
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
 * @first: whether no event before has this path (files of the initramfs never count)
 * @task: the task that executes, while the event is held
 * @command: name of the task
 * @file_system: type of the file system
 * @path: absolute path: @text, or that of a &struct ranged_file
 * @text: space for the path
 */
struct event {
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
	enum operation operation;
	bool first;
	const void *task;
	char command[TASK_COMM_LEN];
	char file_system[FILE_SYSTEM_NAME_SIZE];
	const char *path;
	char text[];
};

/* bootprof_log.c */

extern struct mutex log_lock;
extern struct list_head log_events;
extern unsigned long log_event_count;
extern unsigned long log_generation;

void log_init(unsigned long max_bytes, const char *initramfs_root);
bool log_take_bytes(size_t size);
void log_give_bytes(size_t size);
long log_used_bytes(void);
void log_count_dropped(void);
long log_dropped(void);
char *log_path(const struct path *path, const struct inode *inode);
struct event *log_make_event(const struct path *path, const struct inode *inode,
			     enum operation operation);
struct event *log_make_range_event(const struct inode *inode, const char *path,
				   enum operation operation, u64 offset, u64 length);
void log_free_event(struct event *event);
void log_publish(struct event *event);
void log_opened(struct file *file);
void log_gather(void);
void log_clear(void);

/* bootprof_ranges.c */

void ranges_saw(struct file *file, enum operation operation, u64 offset, u64 length);
void ranges_detach(struct hlist_head *detached);
void ranges_free(struct hlist_head *detached);

/* bootprof_watch.c */

typedef unsigned long (*lookup_name_t)(const char *name);
extern lookup_name_t lookup_name;

int watch_find_symbols(void);
int watch_start(bool by_ftrace, bool ranges);
void watch_stop(bool by_ftrace);
void watch_forget(void);
unsigned long watch_missed(void);
const char *watch_name(size_t i);

/* bootprof_table.c */

bool table_dispatches(void);
int table_find(long offset, bool scan);
int table_start(void);
void table_stop(void);
void table_leave(void);

/* bootprof_debugfs.c and bootprof_main.c */

int debugfs_start(void);
void debugfs_stop(void);
const char *mode_name(void);
unsigned long mode_max_bytes(void);
bool is_running(void);
int start_recording(void);
void stop_recording(void);

#endif
