/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* watch.h - interfaces between the files of bootprof-watch */
#ifndef BOOTPROF_WATCH_H
#define BOOTPROF_WATCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FEW_DESCRIPTORS	2

/**
 * struct mount_point - a mount that processes with our root directory see
 * @id: the kernel's number for it
 * @major: major number of the device of its file system
 * @minor: minor number of that device
 * @point: where it is mounted at present
 * @type: type of its file system
 * @options: options of its file system
 * @listed: it was in the table that was read last
 * @layer: an overlay is mounted over it and reports its files by the names that count
 * @watched: a recorder watches it
 */
struct mount_point {
	int id;
	unsigned int major, minor;
	char *point, *type, *options;
	bool listed, layer, watched;
};

/**
 * struct mounts - the table of mounts
 * @file: /proc/self/mountinfo
 * @initramfs_root: folder where the initramfs mounts the root, removed from paths of that phase
 * @changed: poll(2) has reported a change, which it does only once
 * @in_initramfs: the root directory is still that of the initramfs
 * @list: the mounts
 * @count: their number
 */
struct mounts {
	int file;
	const char *initramfs_root;
	bool changed, in_initramfs;
	struct mount_point *list;
	size_t count;
};

/**
 * struct access - one line of a bootlog in events format, without the time, which is that of
 * writing
 * @process: process identifier, or 0
 * @command: name of the process, or ""
 * @operation: "open" or "exec"
 * @major: major number of the device
 * @minor: minor number of the device
 * @inode: inode number, or 0
 * @file_system: type of the file system
 * @path: absolute path in the booted system
 */
struct access {
	unsigned int process;
	const char *command, *operation;
	unsigned int major, minor;
	uint64_t inode;
	const char *file_system, *path;
};

/**
 * struct watch - the input of a recorder
 * @backend: its name
 * @paths: record only files below these (resolved), or everything if there are none
 * @path_count: their number
 * @proc: directory of a procfs that is mounted nowhere, so that nothing can unmount it
 * @mounts: the mounts
 */
struct watch {
	const char *backend;
	char **paths;
	int path_count;
	int proc;
	struct mounts mounts;
};

/**
 * struct recorder - one backend
 * @backend: its name
 * @start: start recording, or fail() with one line
 * @take: write what has been recorded, without waiting
 * @end: write the rest, undo the changes of @start, write header lines
 * @descriptors: set what to wait for (the second is the table of mounts), return the number
 * @writes_events: writes a bootlog in events format, and not text of the kernel
 */
struct recorder {
	const char *backend;
	void (*start)(struct watch *watch);
	void (*take)(struct watch *watch);
	void (*end)(struct watch *watch);
	int (*descriptors)(const struct watch *watch, struct pollfd *list);
	bool writes_events;
};

extern const struct recorder fanotify_recorder, inotify_recorder, tracepoints_recorder,
	block_dump_recorder;

/* output.c */
void output_open(const char *name, size_t memory_bytes, uint64_t limit);
__attribute__((format(printf, 1, 2))) void output_line(const char *format, ...);
bool output_text(const char *text, size_t length);
void output_access(const struct access *access);
void output_lost(uint64_t events);
int output_flush(void);
int output_close(void);

/* kernel_files.c */
int kernel_file_system(const char *type, const char *usual_path);
int64_t boot_time_ns(void);

/* mounts.c */
void mounts_open(struct mounts *mounts, int proc, const char *initramfs_root);
bool mounts_refresh(struct mounts *mounts);
struct mount_point *mounts_find(const struct mounts *mounts, int id);
const struct mount_point *mounts_of_device(const struct mounts *mounts, unsigned int major,
					   unsigned int minor);
bool mount_is_real(const struct mount_point *mount);
int mount_reach(const struct mount_point *mount, const char *below, int flags);
const char *mounts_final_path(const struct mounts *mounts, const char *file_system,
			      const char *path);
bool watch_wants(const struct watch *watch, const char *path);
bool looks_nameless(const char *path);

#endif
