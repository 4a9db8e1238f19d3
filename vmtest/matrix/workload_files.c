// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* workload_files.c - the files that the workload accesses, made on the host */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workload.h"

#define COLD_FILES	4		/* neighbours in each folder that are not read */
#define STORM_FILE_BYTES 4096

char component[251];
const char * const order_names[ORDER_NAMES] = {
	"m", "c", "z", "a", "q", "k", "x", "b", "t", "e", "p", "d",
};

const char * const odd_names[ODD_NAMES] = {
	"with space", "new\nline", "back\\slash", "tab\there", "return\rhere", "unit\\x2d.service",
	"escaped\\012", "trailing ", "\xff\xfe", "#comment", "gone (deleted)", component,
};

static void make_bytes(const char *path, size_t length)
{
	static char content[FILE_BYTES];
	static uint64_t state = 88172645463325252ULL;
	FILE *file = fopen(path, "w");
	size_t i;

	check(file != NULL, path);
	/* Nothing that a compressor could shorten. */
	for (i = 0; i < length; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		content[i] = (char)state;
	}
	check(fwrite(content, 1, length, file) == length && !fclose(file), path);
}

static void make(const char *name)
{
	make_bytes(name, FILE_BYTES);
}

static void begin(const char *name)
{
	char cold[16];
	int i;

	part = name;
	check(!chdir(folder), folder);
	mkdir(name, 0755);
	check(!chdir(name), name);
	for (i = 0; i < COLD_FILES; i++) {
		snprintf(cold, sizeof(cold), "cold-%d", i);
		make(cold);
	}
}

static void make_all(const char *names)
{
	char copy[300], *name;

	snprintf(copy, sizeof(copy), "%s", names);
	for (name = strtok(copy, " "); name; name = strtok(NULL, " "))
		make(name);
}

void prepare(void)
{
	char name[64];
	size_t i;

	begin("early");
	make_all("absolute relative");
	begin("order");
	for (i = 0; i < ORDER_NAMES; i++)
		make(order_names[i]);
	begin("calls");
	make_all("open openat openat2 creat write");
	begin("relative");
	check(!mkdir("inner", 0755), "mkdir");
	make_all("plain dotted up handle inner/below inner/fchdir");
	begin("links");
	make_all("target-1 target-2 target-3 name-1");
	check(!mkdir("folder", 0755), "mkdir");
	make("folder/inside");
	check(!symlink("target-1", "relative") && !symlink("/w/links/target-2", "absolute") &&
	      !symlink("chain-2", "chain-1") && !symlink("./chain-3", "chain-2") &&
	      !symlink("/w/links/target-3", "chain-3") && !symlink("folder", "through") &&
	      !link("name-1", "name-2"), "links");
	begin("names");
	for (i = 0; i < ODD_NAMES; i++)
		make(odd_names[i]);
	begin("deep");
	memset(name, 'd', 60);
	name[60] = '\0';
	for (i = 0; i < DEPTH; i++)
		check(!mkdir(name, 0755) && !chdir(name), "mkdir");
	make_all("second first");
	begin("deleted");
	make_all("before after");
	begin("bind");
	check(!mkdir("source", 0755) && !mkdir("mounted", 0755), "mkdir");
	make_all("source/inside file onto");
	begin("overlay");
	make_all("lower copied renamed");
	begin("mmap");
	make_all("first second");
	begin("unread");
	make_all("a b c");
	begin("exec");
	begin("failed");
	make_all("exclusive place stat program");
	check(!chmod("program", 0755), "chmod");
	begin("32bit");
	make_all("open openat openat2");
	begin("tmpfs");
	check(!mkdir("mounted", 0755), "mkdir");
	begin("handle");
	check(!mkdir("mounted", 0755), "mkdir");
	begin("iouring");
	make_all("first second");
	begin("storm");
	for (i = 0; i < STORM_FILES; i++) {
		snprintf(name, sizeof(name), "file-%zu", i);
		make_bytes(name, STORM_FILE_BYTES);
	}
}
