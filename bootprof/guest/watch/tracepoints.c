// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * tracepoints.c - records the requests to block devices, as text of the kernel's tracer
 *
 * It uses a tracefs instance of its own, so that other users of the tracer are not affected. The
 * event is block_bio_queue: it occurs in the process that makes the request, before requests are
 * merged and passed to other threads.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "messages.h"
#include "watch.h"

#define EVENT		"events/block/block_bio_queue/enable"
#define INSTANCE	"bootprof-watch-"
#define BUFFER_KIB	"2048"
#define DEVICES		256
#define NUMBER_BYTES	16
#define LINE_BYTES	4096

static struct {
	int tracefs, instance, pipe, sysfs;
	char folder[64];
	/* "MAJOR:MINOR" of the devices that have a "#device" line. */
	char told[DEVICES][NUMBER_BYTES];
	size_t told_count;
	char line[LINE_BYTES];
	size_t used;
} state = { .pipe = -1 };

static bool put(const char *name, const char *text)
{
	int file = openat(state.instance, name, O_WRONLY | O_CLOEXEC);
	bool done = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

	if (file >= 0)
		close(file);
	return done;
}

static void remove_instance(void)
{
	close(state.instance);
	unlinkat(state.tracefs, state.folder, AT_REMOVEDIR);
}

/* Write a "#device" line for each block device that has none yet. */
static void tell_devices(void)
{
	int folder = openat(state.sysfs, "class/block", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = folder < 0 ? NULL : fdopendir(folder);
	struct dirent *entry;

	while (listing && (entry = readdir(listing))) {
		char name[300], number[NUMBER_BYTES];
		size_t i = 0;

		snprintf(name, sizeof(name), "%s/dev", entry->d_name);
		if (read_line(folder, name, number, sizeof(number)) <= 0)
			continue;
		while (i < state.told_count && strcmp(number, state.told[i]))
			i++;
		if (i < state.told_count || i == DEVICES)
			continue;
		strcpy(state.told[state.told_count++], number);
		output_line("#device %s %s\n", number, entry->d_name);
	}
	if (listing)
		closedir(listing);
}

/*
 * Remove the instances of killed processes, with their buffers. An instance in use by a process in
 * another PID namespace is busy and stays.
 */
static void remove_leftovers(void)
{
	int folder = openat(state.tracefs, "instances", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = folder < 0 ? NULL : fdopendir(folder);
	struct dirent *entry;

	while (listing && (entry = readdir(listing))) {
		int process;

		if (sscanf(entry->d_name, INSTANCE "%d", &process) == 1 && kill(process, 0) &&
		    errno == ESRCH)
			unlinkat(folder, entry->d_name, AT_REMOVEDIR);
	}
	if (listing)
		closedir(listing);
}

static void start(struct watch *watch)
{
	(void)watch;
	state.tracefs = kernel_file_system("tracefs", "/sys/kernel/tracing");
	state.sysfs = kernel_file_system("sysfs", "/sys");
	if (state.tracefs < 0 || faccessat(state.tracefs, "instances", F_OK, 0))
		fail(1, geteuid() ? "run it as root" : "boot a kernel with CONFIG_TRACING",
		     "tracefs: %s", state.tracefs < 0 ? strerror(errno) : "no instances");
	remove_leftovers();
	snprintf(state.folder, sizeof(state.folder), "instances/" INSTANCE "%d", getpid());
	if (mkdirat(state.tracefs, state.folder, 0700))
		fail(1, geteuid() ? "run it as root" : "", "tracefs: %s: %s", state.folder,
		     strerror(errno));
	state.instance = openat(state.tracefs, state.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put("trace_clock", "boot");
	put("buffer_size_kb", BUFFER_KIB);
	state.pipe = openat(state.instance, "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (state.pipe < 0 || !put(EVENT, "1")) {
		remove_instance();
		fail(1, "boot a kernel with CONFIG_BLK_DEV_IO_TRACE or CONFIG_EVENT_TRACING",
		     "tracefs: no event block_bio_queue");
	}
	tell_devices();
}

/* Handle a whole line. */
static void take_line(void)
{
	const char *lost = strstr(state.line, "[LOST ");

	if (lost && !strncmp(state.line, "CPU:", 4))
		output_lost(strtoull(lost + 6, NULL, 10));
	else if (!output_text(state.line, state.used))
		output_lost(1);
}

static void take(struct watch *watch)
{
	char buffer[8192];
	ssize_t length, i;
	bool any = false;

	(void)watch;
	while ((length = read(state.pipe, buffer, sizeof(buffer))) > 0) {
		any = true;
		for (i = 0; i < length; i++) {
			if (state.used < sizeof(state.line) - 1)
				state.line[state.used++] = buffer[i];
			if (buffer[i] != '\n')
				continue;
			state.line[state.used] = '\0';
			take_line();
			state.used = 0;
		}
	}
	if (any)
		tell_devices();
}

static void end(struct watch *watch)
{
	put(EVENT, "0");
	take(watch);
	tell_devices();
	close(state.pipe);
	remove_instance();
}

/* poll(2) reports trace_pipe only when half of the buffer is full, so it is read at intervals. */
static int descriptors(const struct watch *watch, struct pollfd *list)
{
	(void)watch;
	(void)list;
	return 0;
}

const struct recorder tracepoints_recorder = {
	.backend = "tracepoints",
	.start = start,
	.take = take,
	.end = end,
	.descriptors = descriptors,
};
