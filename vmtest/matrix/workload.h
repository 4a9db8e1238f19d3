/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* workload.h - what the parts of the workload share: where its files are, and its list */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdio.h>
#include <sys/types.h>

#define FILE_BYTES	(140 * 1024)	/* one block of a squashfs, and a tail */
#define ORDER_NAMES	12
#define ODD_NAMES	12
#define DEPTH		40
#define STORM_FILES	64

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

extern FILE *truth;
/* Where the files are now, what the booted system calls it, and the part that is running. */
extern const char *folder, *named, *part;
extern const char * const order_names[ORDER_NAMES];
extern const char * const odd_names[ODD_NAMES];
/* A name of the greatest length that the file systems take; main() fills it in. */
extern char component[251];

/* End with a message and errno's text unless a condition holds. */
void check(int condition, const char *what);
/* Make all files that the workload accesses, below FOLDER. */
void prepare(void);
/* Write down an access of the running part, by another process or by this one. */
void expect_of(pid_t pid, const char *kind, const char *path);
void expect(const char *path);
/* Write down a path that a recorder must not list. */
void expect_never(const char *path);

#endif
