/* SPDX-License-Identifier: GPL-2.0 */
/* watch.h - what the parts of bootprof-watch know of each other */
#ifndef BOOTPROF_WATCH_H
#define BOOTPROF_WATCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FEW_DESCRIPTORS	2

/**
 * struct mount_point - a mount that processes with our root directory see
 * @id: the kernel's number of it
 * @major: of the device of its file system
 * @minor: likewise
 * @point: where it is mounted, as seen now
 * @type: of its file system
 * @options: of its file system
 * @listed: is in the table of the last look
 * @layer: an overlay is mounted over it, and tells of its files by better names
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
 * @initramfs_root: where the initramfs mounts the root, cut from the paths of that time
 * @changed: it was seen to have changed; the kernel says so once only
 * @in_initramfs: the root directory is that of the initramfs still
 * @list: the mounts
 * @count: how many
 */
struct mounts {
	int file;
	const char *initramfs_root;
	bool changed, in_initramfs;
	struct mount_point *list;
	size_t count;
};

/**
 * struct access - one line of a rich bootlog, but for the time, which is that of its writing
 */
struct access {
	unsigned int process;
	const char *command, *operation;
	unsigned int major, minor;
	uint64_t inode;
	const char *file_system, *path;
};

/**
 * struct watch - what a recorder works with
 * @backend: its name
 * @paths: record only what is below these (resolved), or all if there are none
 * @path_count: how many
 * @proc: directory of a procfs that no path leads to, so that nothing can unmount it
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
 * @start: begin; ends the program with one clear line if it cannot
 * @take: take what has come, without waiting
 * @end: take the last, undo what @start changed, write header lines
 * @descriptors: fill in what to wait for (the second is the table of mounts), return how many
 * @rich: writes a rich bootlog, not text of the kernel
 */
struct recorder {
	const char *backend;
	void (*start)(struct watch *watch);
	void (*take)(struct watch *watch);
	void (*end)(struct watch *watch);
	int (*descriptors)(const struct watch *watch, struct pollfd *list);
	bool rich;
};

extern const struct recorder fanotify_recorder, inotify_recorder, tracepoints_recorder,
	block_dump_recorder;

/* watch.c */
__attribute__((noreturn, format(printf, 3, 4)))
void fail(int status, const char *hint, const char *format, ...);
__attribute__((format(printf, 1, 2))) void warn(const char *format, ...);

/* output.c: all that is written passes here. */
void output_open(const char *name, size_t memory_bytes, uint64_t limit);
void output_discard(void);
__attribute__((format(printf, 1, 2))) void output_line(const char *format, ...);
bool output_text(const char *text, size_t length);
void output_access(const struct access *access);
void output_lost(uint64_t events);
int output_flush(void);
int output_close(void);

/* kernel_files.c */
int kernel_file_system(const char *type, const char *usual_path);
int64_t boot_time_ns(void);
ssize_t read_text(int directory, const char *name, char *text, size_t size);

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
