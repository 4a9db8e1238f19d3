// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * block_dump.c - records the requests to block devices, as lines of the kernel's log
 *
 * Linux up to 5.13 can log each request with its process. The records are kept as /dev/kmsg returns
 * them; their numbers show how many were overwritten before they were read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "messages.h"
#include "watch.h"

#define SWITCH		"sys/vm/block_dump"
#define RECORD_BYTES	8192

static struct {
	int log;
	char before[16];
	uint64_t expected;
	bool begun;
} state = { .log = -1 };

static bool set_switch(const struct watch *watch, const char *text)
{
	int file = openat(watch->proc, SWITCH, O_WRONLY | O_CLOEXEC);
	bool done = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

	if (file >= 0)
		close(file);
	return done;
}

static void start(struct watch *watch)
{
	int devices;

	if (read_line(watch->proc, SWITCH, state.before, sizeof(state.before)) <= 0)
		fail(1, "use --backend tracepoints: Linux 5.14 and newer have no block_dump",
		     "this kernel has no block_dump");
	devices = kernel_file_system("devtmpfs", "/dev");
	state.log = openat(devices, "kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (state.log < 0)
		fail(1, geteuid() ? "run it as root" : "", "/dev/kmsg: %s", strerror(errno));
	lseek(state.log, 0, SEEK_END);
	if (!set_switch(watch, "1"))
		fail(1, geteuid() ? "run it as root" : "", "/proc/" SWITCH ": %s",
		     strerror(errno));
}

static void take(struct watch *watch)
{
	char record[RECORD_BYTES];
	uint64_t number;
	ssize_t length;
	char *end;

	(void)watch;
	for (;;) {
		length = read(state.log, record, sizeof(record) - 1);
		/* Some were overwritten; the number of the next one shows how many. */
		if (length < 0 && (errno == EPIPE || errno == EINTR))
			continue;
		if (length <= 0)
			return;
		record[length] = '\0';
		if (sscanf(record, "%*u,%" SCNu64, &number) == 1) {
			if (state.begun && number > state.expected)
				output_lost(number - state.expected);
			state.expected = number + 1;
			state.begun = true;
		}
		/* Further lines have names of devices. */
		end = strchr(record, '\n');
		if (!output_text(record, end ? (size_t)(end + 1 - record) : (size_t)length))
			output_lost(1);
	}
}

static void end(struct watch *watch)
{
	set_switch(watch, state.before);
	take(watch);
}

static int descriptors(const struct watch *watch, struct pollfd *list)
{
	(void)watch;
	list[0] = (struct pollfd){ .fd = state.log, .events = POLLIN };
	return 1;
}

const struct recorder block_dump_recorder = {
	.backend = "block_dump",
	.start = start,
	.take = take,
	.end = end,
	.descriptors = descriptors,
};
