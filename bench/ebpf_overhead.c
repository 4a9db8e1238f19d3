// SPDX-License-Identifier: GPL-2.0
/*
 * ebpf_overhead.c - what ebpf_overhead.py measures, and the two watchers that need no program
 *
 *	ebpf_overhead measure FILE CALLS	prints ns per open+close and per open+read+close, of the
 *						processor, then ns per open+close by the clock
 *	ebpf_overhead fanotify FOLDER		watches until it is killed; prints "ready"
 *	ebpf_overhead inotify FOLDER
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

static double now_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void measure(const char *name, long calls)
{
	char page[4096];
	double start, between, end, wall;
	long i;

	wall = now_ns(CLOCK_MONOTONIC);
	start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (i = 0; i < calls; i++)
		close(open(name, O_RDONLY));
	between = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	wall = now_ns(CLOCK_MONOTONIC) - wall;
	for (i = 0; i < calls; i++) {
		int file = open(name, O_RDONLY);

		if (read(file, page, sizeof(page)) != sizeof(page))
			exit(1);
		close(file);
	}
	end = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	printf("%.0f %.0f %.0f\n", (between - start) / calls, (end - between) / calls,
	       wall / calls);
}

/* Take events as fast as they come; a descriptor that comes with one is what costs most. */
static void watch(int events, int with_descriptors)
{
	static char buffer[65536] __attribute__((aligned(8)));
	ssize_t length;

	puts("ready");
	fflush(stdout);
	while ((length = read(events, buffer, sizeof(buffer))) > 0) {
		struct fanotify_event_metadata *event = (void *)buffer;

		if (!with_descriptors)
			continue;
		for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length))
			if (event->fd >= 0)
				close(event->fd);
	}
}

int main(int argc, char **argv)
{
	int events;

	if (argc == 4 && !strcmp(argv[1], "measure")) {
		measure(argv[2], atol(argv[3]));
		return 0;
	}
	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "fanotify")) {
		events = fanotify_init(FAN_CLASS_NOTIF | FAN_UNLIMITED_QUEUE, O_RDONLY | O_LARGEFILE);
		if (events < 0 || fanotify_mark(events, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN,
						AT_FDCWD, argv[2])) {
			perror("fanotify");
			return 1;
		}
		watch(events, 1);
	} else {
		events = inotify_init();
		if (events < 0 || inotify_add_watch(events, argv[2], IN_OPEN) < 0) {
			perror("inotify");
			return 1;
		}
		watch(events, 0);
	}
	return 0;
}
