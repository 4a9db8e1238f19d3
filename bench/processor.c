// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * processor - how long this processor takes for what a boot does much of
 *
 *	processor ROUNDS
 *
 * Prints nanoseconds a round of each: sorting and hashing memory, starting a process, opening and
 * reading a file, and touching fresh pages.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NUMBERS (1 << 16)
#define PAGES 1024
#define PAGE_BYTES 4096

static const char *own_path;
static uint32_t numbers[NUMBERS];

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static int ascending(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

/* xorshift to fill, FNV-1a to hash; the result is used, so that nothing of it is left out. */
static void compute(void)
{
	uint32_t state = 2463534242, hash = 2166136261;
	size_t i;

	for (i = 0; i < NUMBERS; i++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		numbers[i] = state;
	}
	qsort(numbers, NUMBERS, sizeof(*numbers), ascending);
	for (i = 0; i < sizeof(numbers); i++)
		hash = (hash ^ ((unsigned char *)numbers)[i]) * 16777619;
	if (!hash)
		fail("hash");
}

static void start_processes(void)
{
	int i, status;

	for (i = 0; i < 20; i++) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (!child) {
			execl(own_path, own_path, (char *)NULL);
			_exit(EXIT_FAILURE);
		}
		if (waitpid(child, &status, 0) < 0 || status)
			fail("process");
	}
}

static void read_files(void)
{
	char buffer[PAGE_BYTES];
	int i;

	for (i = 0; i < 2000; i++) {
		int descriptor = open(own_path, O_RDONLY | O_CLOEXEC);

		if (descriptor < 0 || read(descriptor, buffer, sizeof(buffer)) < 0)
			fail(own_path);
		close(descriptor);
	}
}

static void touch_pages(void)
{
	char *memory = mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (memory == MAP_FAILED)
		fail("mmap");
	for (i = 0; i < PAGES; i++)
		memory[i * PAGE_BYTES] = 1;
	munmap(memory, PAGES * PAGE_BYTES);
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

int main(int argc, char **argv)
{
	void (*const work[])(void) = { compute, start_processes, read_files, touch_pages };
	size_t i;

	if (argc == 1)
		return EXIT_SUCCESS;
	own_path = argv[0];
	for (i = 0; i < sizeof(work) / sizeof(*work); i++) {
		int round, rounds = atoi(argv[1]);
		double start;

		work[i]();
		start = now_ns();
		for (round = 0; round < rounds; round++)
			work[i]();
		printf("%.0f%c", (now_ns() - start) / rounds,
		       i + 1 < sizeof(work) / sizeof(*work) ? ' ' : '\n');
	}
	return EXIT_SUCCESS;
}
