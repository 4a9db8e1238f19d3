// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * more.c - accesses that tests/kmod/workload.c has not
 *
 *	more deep DEPTH NAME_BYTES	a file DEPTH directories down, names of NAME_BYTES
 *	more map FILE			maps bytes 4096 to 12287 of a file
 *	more handle FILE		opens a file by its handle
 *
 * Works in the current directory and prints the path of what it opened, relative to it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int condition, const char *what)
{
	if (!condition) {
		perror(what);
		exit(1);
	}
}

static void deep(int depth, int name_bytes)
{
	char name[256];
	int i;

	memset(name, 'd', name_bytes);
	name[name_bytes] = '\0';
	for (i = 0; i < depth; i++) {
		mkdir(name, 0755);
		check(!chdir(name), name);
		printf("%s/", name);
	}
	check(open("file", O_CREAT | O_WRONLY, 0644) >= 0, "file");
	puts("file");
}

static void handle(const char *name)
{
	struct {
		struct file_handle handle;
		char bytes[MAX_HANDLE_SZ];
	} place = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount_id;

	check(!name_to_handle_at(AT_FDCWD, name, &place.handle, &mount_id, 0), "handle");
	check(open_by_handle_at(AT_FDCWD, &place.handle, O_RDONLY) >= 0, name);
	puts(name);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "deep")) {
		deep(atoi(argv[2]), atoi(argv[3]));
	} else if (argc == 3 && !strcmp(argv[1], "map")) {
		int file = open(argv[2], O_RDONLY);

		check(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, file, 4096) != MAP_FAILED, "mmap");
		puts(argv[2]);
	} else if (argc == 3 && !strcmp(argv[1], "handle")) {
		handle(argv[2]);
	} else {
		return 2;
	}
	return 0;
}
