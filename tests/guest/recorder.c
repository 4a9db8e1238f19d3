// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* recorder.c - a program that records nothing, and behaves as the line "NAME BEHAVIOUR" in the file
 * /behaviour says: NAME is its --backend, or "ebpf" without.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_forever(void)
{
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	char name[64], behaviour[64] = "", wanted[64] = "ebpf";
	FILE *stream = fopen("/behaviour", "r");
	sigset_t signals;
	int i, number;

	for (i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], "--backend"))
			snprintf(wanted, sizeof(wanted), "%s", argv[i + 1]);
	while (stream && fscanf(stream, "%63s %63s", name, behaviour) == 2)
		if (!strcmp(name, wanted))
			break;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (!strcmp(behaviour, "hangs"))
		wait_forever();
	if (!strcmp(behaviour, "crashes"))
		abort();
	if (!strcmp(behaviour, "explains")) {
		fputs("no such thing here\nsecond line\n", stderr);
		return 1;
	}
	if (!strcmp(behaviour, "exits"))
		return 1;
	if (write(3, "ready\n", 6) != 6)
		return 1;
	if (!strcmp(behaviour, "ignores")) {
		if (write(1, "unfinished", 10) != 10)
			return 1;
		wait_forever();
	}
	sigwait(&signals, &number);
	printf("log of %s by %s\n", wanted, argv[0]);
	return 0;
}
