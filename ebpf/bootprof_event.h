/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SPDX-FileCopyrightText: The bootprof authors */
/*
 * bootprof_event.h - one access to a file, as the tracers in the kernel send it to user space
 *
 * The interface between BPF program, loader, bcc tracer and spool file. It includes nothing: define
 * the fixed-width types __u16, __u32 and __u64 before including it.
 */
#ifndef BOOTPROF_EVENT_H
#define BOOTPROF_EVENT_H

#define BOOTPROF_COMMAND_SIZE		16	/* TASK_COMM_LEN */
#define BOOTPROF_FILE_SYSTEM_SIZE	16	/* longest name in Linux 7.2: 13 bytes */
#define BOOTPROF_NAME_LIMIT		255	/* NAME_MAX: bytes of one component */
#define BOOTPROF_PATH_LIMIT		4095	/* PATH_MAX without its NUL */

/* In the order of OPERATIONS in Python. */
enum bootprof_operation {
	BOOTPROF_OPEN,
	BOOTPROF_EXEC,
	BOOTPROF_MAP,
	BOOTPROF_READ,
	BOOTPROF_FAULT,
	BOOTPROF_CACHE,
	BOOTPROF_OPERATIONS,
};

enum bootprof_flags {
	/* The root directory of the process is still on the initramfs. */
	BOOTPROF_IN_INITRAMFS = 1 << 0,
	/*
	 * The path is that of the working directory, and the name that the program gave follows.
	 * Device, inode and file system are unknown.
	 */
	BOOTPROF_NAME_GIVEN = 1 << 1,
	/* The path starts at the root of the file system, not at the root directory. */
	BOOTPROF_PATH_IN_FILE_SYSTEM = 1 << 2,
};

/**
 * struct bootprof_event - one access to a file
 * @time_ns: nanoseconds since boot, suspend included
 * @inode: inode number
 * @offset_bytes: offset of the access in the file
 * @length_bytes: length of the access; 0 for the whole file, or if unknown
 * @device: the file system's device: major << 20 | minor
 * @process: process (thread group) identifier
 * @operation: enum bootprof_operation
 * @flags: enum bootprof_flags
 * @path_bytes: bytes of path, see @text
 * @name_bytes: bytes of name, see @text
 * @command: name of the task, with a NUL
 * @file_system: type of the file system, with a NUL
 * @text: path_bytes of path: its components from the last to the first, each with a NUL; then
 *	name_bytes of the name that the program gave, with a NUL
 */
struct bootprof_event {
	__u64 time_ns;
	__u64 inode;
	__u64 offset_bytes;
	__u64 length_bytes;
	__u32 device;
	__u32 process;
	__u16 operation;
	__u16 flags;
	__u16 path_bytes;
	__u16 name_bytes;
	char command[BOOTPROF_COMMAND_SIZE];
	char file_system[BOOTPROF_FILE_SYSTEM_SIZE];
	char text[];
};

_Static_assert(sizeof(struct bootprof_event) == 80, "struct bootprof_event has holes");

/* Why an access is missing. */
enum bootprof_loss {
	BOOTPROF_LOST_BUFFER,	/* the buffer to user space is full */
	BOOTPROF_LOST_PATH,	/* path too long or too deep */
	BOOTPROF_LOST_FILE,	/* another thread closed or replaced the file too early */
	BOOTPROF_LOSSES,
};

#endif
