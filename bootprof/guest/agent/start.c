// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* start.c - starts the backends; none of them may hold up the boot */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "recorders.h"

#define ARGUMENTS_MAX	16

#define RECORDER(name, turn, file, options, sent)	\
	{ .backend = name, .automatic = turn, .program = file, .arguments = options,	\
	  .files = sent, .output = -1 },
struct recorder recorders[] = { RECORDERS(RECORDER) };
const size_t recorder_count = sizeof(recorders) / sizeof(recorders[0]);

/* Wait until a descriptor can be read or its other end is closed; false after READY_SECONDS. */
static bool wait_for(int descriptor)
{
	struct pollfd state = { .fd = descriptor, .events = POLLIN };
	int ready;

	do {
		ready = poll(&state, 1, READY_SECONDS * 1000);
	} while (ready < 0 && errno == EINTR);
	return ready > 0;
}

/* Load one kernel module, "NAME.ko PARAMETERS"; return 0 or the error. */
static int load_module(char *line)
{
	char *parameters = strchr(line, ' ');
	char path[LINE_SIZE + sizeof(FOLDER)];
	int file, error = 0;

	if (parameters)
		*parameters++ = '\0';
	snprintf(path, sizeof(path), FOLDER "/%s", line);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || syscall(SYS_finit_module, file, parameters ? parameters : "", 0))
		error = errno;
	if (file >= 0)
		close(file);
	return error;
}

/*
 * Load a kernel module in a child: if it crashes in the kernel, or does not return, only the child
 * is lost. @reason is set to its name and the result.
 */
static bool load_module_safely(char *line, char *reason, size_t size)
{
	const char *name = line;
	char error_name[NAME_SIZE] = "";
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC)) {
		snprintf(reason, size, "%.64s: %s", name, strerrorname_np(errno));
		return false;
	}
	child = fork();
	if (child == 0) {
		int error = load_module(line);

		dprintf(ends[1], "%s", error ? strerrorname_np(error) : "loaded");
		_exit(0);
	}
	close(ends[1]);
	if (child > 0 && !wait_for(ends[0])) {
		kill(child, SIGKILL);
		snprintf(error_name, sizeof(error_name), "not loaded after %d s", READY_SECONDS);
	} else if (child < 0 || read(ends[0], error_name, sizeof(error_name) - 1) <= 0) {
		snprintf(error_name, sizeof(error_name), "loading it crashed");
	}
	close(ends[0]);
	if (child > 0)
		waitpid(child, NULL, WNOHANG);
	line[strcspn(line, " ")] = '\0';
	snprintf(reason, size, "%.64s: %s", name, error_name);
	return !strcmp(error_name, "loaded");
}

/* Load our module, the first of the list, and those that the image's owner has added. */
static bool start_modules(const char *backend)
{
	FILE *list = fopen(FOLDER "/modules", "re");
	char line[LINE_SIZE], reason[3 * NAME_SIZE];
	bool first = true, loaded, started = false;
	int folder;

	if (!list) {
		note(backend, "failed", "the profiler archive has no kernel module");
		return false;
	}
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		loaded = load_module_safely(line, reason, sizeof(reason));
		if (!first) {
			note("module", loaded ? "started" : "failed", reason);
			continue;
		}
		first = false;
		folder = openat(kernel.debugfs, "bootprof", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (kernel.debugfs < 0 || (loaded && folder < 0))
			snprintf(reason, sizeof(reason), "this kernel has no debugfs to read from");
		started = loaded && folder >= 0;
		note(backend, started ? "started" : "failed", started ? "" : reason);
		if (folder >= 0)
			close(folder);
	}
	fclose(list);
	return started;
}

/* Wait until a program reports that it records. If it does not, @reason is set. */
static bool wait_until_ready(int ready, int errors, char *reason, size_t size)
{
	bool in_time = wait_for(ready);
	ssize_t length;
	char byte;

	if (in_time && read(ready, &byte, 1) == 1)
		return true;
	length = read(errors, reason, size - 1);
	reason[length > 0 ? length : 0] = '\0';
	reason[strcspn(reason, "\n")] = '\0';
	if (!in_time)
		snprintf(reason, size, "not ready after %d s", READY_SECONDS);
	else if (!reason[0])
		snprintf(reason, size, "exited without an error message");
	return false;
}

/* Become the program of a backend. */
__attribute__((noreturn))
static void execute(const struct recorder *recorder, int output, int errors, int ready)
{
	char path[NAME_SIZE * 2], name[NAME_SIZE], line[LINE_SIZE];
	char *arguments[ARGUMENTS_MAX] = { name, "--output", "-", "--ready-fd", "3" };
	int count = 5;
	char *word, *rest;

	/* Out of the way of descriptor 3, if a pipe has that number. */
	ready = fcntl(ready, F_DUPFD_CLOEXEC, 10);
	setsid();
	dup2(output, STDOUT_FILENO);
	/* Nobody reads later messages: they are lost, and never block. */
	dup2(errors, STDERR_FILENO);
	dup2(ready, 3);
	snprintf(path, sizeof(path), FOLDER "/%s", recorder->program);
	/* systemd kills the processes of an initramfs whose names do not start with an at sign. */
	snprintf(name, sizeof(name), "@%s", recorder->program);
	snprintf(line, sizeof(line), "%s", recorder->arguments);
	for (word = strtok_r(line, " ", &rest); word && count < ARGUMENTS_MAX - 1;
	     word = strtok_r(NULL, " ", &rest))
		arguments[count++] = word;
	execv(path, arguments);
	dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

/*
 * Start a program and wait until it records. During that time only, it finds the kernel's file
 * systems at their usual paths.
 */
static bool start_program(struct recorder *recorder)
{
	int output[2], ready[2], errors[2];
	char reason[LINE_SIZE / 4];
	bool sys, proc, started;

	if (pipe2(output, O_CLOEXEC) || pipe2(ready, O_CLOEXEC) ||
	    pipe2(errors, O_CLOEXEC | O_NONBLOCK)) {
		note(recorder->backend, "failed", strerrorname_np(errno));
		return false;
	}
	mkdir("/sys", 0755);
	mkdir("/proc", 0755);
	sys = !mount("sysfs", "/sys", "sysfs", 0, NULL);
	proc = !mount("proc", "/proc", "proc", 0, NULL);
	recorder->process = fork();
	if (recorder->process == 0)
		execute(recorder, output[1], errors[1], ready[1]);
	close(output[1]);
	close(ready[1]);
	close(errors[1]);
	started = recorder->process > 0 &&
		  wait_until_ready(ready[0], errors[0], reason, sizeof(reason));
	if (recorder->process < 0)
		snprintf(reason, sizeof(reason), "fork: %s", strerrorname_np(errno));
	note(recorder->backend, started ? "started" : "failed", started ? "" : reason);
	close(ready[0]);
	if (sys)
		umount2("/sys", MNT_DETACH);
	if (proc)
		umount2("/proc", MNT_DETACH);
	if (started) {
		recorder->output = output[0];
		return true;
	}
	close(output[0]);
	close(errors[0]);
	if (recorder->process > 0) {
		kill(recorder->process, SIGKILL);
		waitpid(recorder->process, NULL, WNOHANG);
	}
	recorder->process = 0;
	return false;
}

static bool start_recorder(struct recorder *recorder)
{
	return recorder->program[0] ? start_program(recorder) : start_modules(recorder->backend);
}

/* Start the first backend that this kernel supports. */
static void start_automatically(void)
{
	int turn;
	size_t i;

	for (turn = 1; turn <= (int)recorder_count; turn++)
		for (i = 0; i < recorder_count; i++)
			if (recorders[i].automatic == turn && start_recorder(&recorders[i]))
				return;
}

static void start_by_name(const char *backend)
{
	size_t i;

	for (i = 0; i < recorder_count; i++)
		if (!strcmp(backend, recorders[i].backend)) {
			start_recorder(&recorders[i]);
			return;
		}
	note(backend, "failed", "unknown backend");
}

/**
 * start_backends() - start backends, each within READY_SECONDS
 * @list: their names with plus signs between them, or "auto"
 *
 * What has started, and why not, is noted for the host.
 */
void start_backends(const char *list)
{
	char names[LINE_SIZE];
	char *name, *rest;

	if (!strcmp(list, "auto")) {
		start_automatically();
		return;
	}
	snprintf(names, sizeof(names), "%s", list);
	for (name = strtok_r(names, "+", &rest); name; name = strtok_r(NULL, "+", &rest))
		start_by_name(name);
}
