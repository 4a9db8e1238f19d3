// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * overhead.c - what overhead.py measures
 *
 *	overhead FILE CALLS	prints ns per open+close and per open+read of 4 KiB+close, of the
 *				processor, then ns per open+close by the clock
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	measure(argv[1], atol(argv[2]));
	return 0;
}
