/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* agent.h - interfaces between the files of the agent */
#ifndef BOOTPROF_AGENT_H
#define BOOTPROF_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FOLDER		"/bootprof"
#define NAME_SIZE	64
#define LINE_SIZE	4096

/*
 * Seconds until a backend must record, and until the boot continues whatever the backends do. Under
 * emulation on a busy machine, loading the BPF programs takes some ten seconds.
 */
#ifndef READY_SECONDS
#define READY_SECONDS	60
#endif
#define START_SECONDS	(3 * READY_SECONDS)

/**
 * struct recorder - a backend; recorders.h describes the constant fields
 * @backend: its name
 * @automatic: its turn for "auto", or 0
 * @program: its program, or "" for the kernel modules
 * @arguments: arguments of the program
 * @files: files that a harvest sends
 * @process: the program, or 0 if it does not run
 * @output: pipe from its standard output
 */
struct recorder {
	const char *backend;
	int automatic;
	const char *program, *arguments, *files;
	pid_t process;
	int output;
};

extern struct recorder recorders[];
extern const size_t recorder_count;

/**
 * struct kernel_folders - directories of the kernel's file systems, or -1
 *
 * @sysfs: root of sysfs
 * @procfs: root of procfs
 * @devtmpfs: root of devtmpfs
 * @debugfs: root of debugfs
 *
 * They are mounted nowhere, so that the image's own scripts find what they expect.
 */
struct kernel_folders {
	int sysfs, procfs, devtmpfs, debugfs;
};

extern struct kernel_folders kernel;

/* start.c */
void start_backends(const char *list);

/* notes.c */
extern char status_text[LINE_SIZE], log_text[2 * LINE_SIZE];
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
__attribute__((format(printf, 3, 4)))
void append(char *buffer, size_t size, const char *format, ...);
void note(const char *backend, const char *state, const char *reason);

/* harvest.c */
void harvest(int port);
__attribute__((noreturn)) void serve(void);

#endif
