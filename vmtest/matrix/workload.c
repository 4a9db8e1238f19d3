// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * workload.c - accesses known files in a known order, and keeps its own list of them
 *
 *	workload prepare TREE			makes the files, on the host
 *	workload early FOLDER NAMED TRUTH	what is accessed before the root is switched
 *	workload main FOLDER NAMED TRUTH PROCESSES OPENS	all the rest; the size of the storm
 *
 * FOLDER is where the files are now, NAMED what the booted system calls it. Each part of the
 * workload has a folder of its own, so that a table can say which part a recorder misses. Lines
 * appended to TRUTH, in the order of the accesses: pid, part, kind, path, separated by tabs and
 * escaped as in an events file. Kinds:
 *
 *	open	opened, and read unless the part is about files that are not read
 *	async	opened on behalf of the process, perhaps by a thread of the kernel
 *	exec	executed: a program, a script, the interpreter of a script
 *	load	the ELF interpreter that the kernel maps beside a program
 *	may	not opened, but the kernel itself reads of it: it counts neither way
 *	never	not accessed as a file: a recorder must not list it
 *
 * Statically linked. What a child does is written down by its parent, which knows what it told it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

static void start(const char *name)
{
	part = name;
	check(!chdir(folder) && !chdir(name), name);
}

static void touch(int file, const char *path)
{
	static char buffer[65536];

	check(file >= 0, path);
	while (read(file, buffer, sizeof(buffer)) > 0)
		;
	close(file);
	expect(path);
}

static void early(void)
{
	char path[256];

	start("early");
	snprintf(path, sizeof(path), "%s/early/absolute", folder);
	touch(open(path, O_RDONLY), "absolute");
	touch(open("relative", O_RDONLY), "relative");
}

static void order(void)
{
	size_t i;

	start("order");
	for (i = 0; i < ORDER_NAMES; i++)
		touch(open(order_names[i], O_RDONLY), order_names[i]);
	/* Once more, in another order: the first access is what counts. */
	touch(open(order_names[5], O_RDONLY), order_names[5]);
	touch(open(order_names[2], O_RDONLY), order_names[2]);
}

static void calls(void)
{
	struct open_how how = { .flags = O_RDONLY };

	start("calls");
	touch(syscall(SYS_open, "open", O_RDONLY), "open");
	touch(syscall(SYS_openat, AT_FDCWD, "openat", O_RDONLY), "openat");
	touch(syscall(SYS_openat2, AT_FDCWD, "openat2", &how, sizeof(how)), "openat2");
	touch(syscall(SYS_creat, "creat", 0644), "creat");
	touch(open("write", O_RDWR | O_APPEND), "write");
}

static void relative(void)
{
	int directory;

	start("relative");
	touch(open("plain", O_RDONLY), "plain");
	touch(open("./inner/.././/dotted", O_RDONLY), "dotted");
	check(!chdir("inner"), "chdir");
	touch(open("../up", O_RDONLY), "up");
	touch(open("below", O_RDONLY), "inner/below");
	directory = open("..", O_RDONLY | O_DIRECTORY);
	touch(openat(directory, "handle", O_RDONLY), "handle");
	close(directory);
	check(!chdir("/"), "chdir");
	directory = open("w/relative/inner", O_PATH | O_DIRECTORY);
	check(directory >= 0 && !fchdir(directory), "fchdir");
	close(directory);
	touch(open("fchdir", O_RDONLY), "inner/fchdir");
}

static void links(void)
{
	start("links");
	touch(open("relative", O_RDONLY), "target-1");
	touch(open("absolute", O_RDONLY), "target-2");
	touch(open("chain-1", O_RDONLY), "target-3");
	touch(open("through/inside", O_RDONLY), "folder/inside");
	/* Two names of one file: each is the name that was used. */
	touch(open("name-2", O_RDONLY), "name-2");
	touch(open("name-1", O_RDONLY), "name-1");
}

static void names(void)
{
	size_t i;

	start("names");
	for (i = 0; i < ODD_NAMES; i++)
		touch(open(odd_names[i], O_RDONLY), odd_names[i]);
}

static void deep(void)
{
	char path[DEPTH * 61 + 16] = "", *end = path;
	int i;

	start("deep");
	for (i = 0; i < DEPTH; i++) {
		memset(end, 'd', 60);
		end[60] = '/';
		end += 61;
	}
	strcpy(end, "second");
	touch(open(path, O_RDONLY), path);
	strcpy(end, "first");
	touch(open(path, O_RDONLY), path);
}

static void deleted(void)
{
	char again[64];
	int file;

	start("deleted");
	file = open("before", O_RDONLY);
	check(file >= 0, "before");
	expect("before");
	check(!unlink("before"), "unlink");
	snprintf(again, sizeof(again), "/proc/self/fd/%d", file);
	touch(open(again, O_RDONLY), "before");
	/* Opened for the first time when it had no name any more: it has the one that it had. */
	file = open("after", O_PATH);
	check(file >= 0 && !unlink("after"), "unlink");
	snprintf(again, sizeof(again), "/proc/self/fd/%d", file);
	touch(open(again, O_RDONLY), "after");
}

static void bind(void)
{
	start("bind");
	check(!mount("source", "mounted", NULL, MS_BIND, NULL), "bind mount");
	touch(open("mounted/inside", O_RDONLY), "mounted/inside");
	check(!mount("file", "onto", NULL, MS_BIND, NULL), "bind mount of a file");
	touch(open("onto", O_RDONLY), "onto");
}

static void overlay(void)
{
	int file;

	start("overlay");
	touch(open("lower", O_RDONLY), "lower");
	file = open("copied", O_WRONLY);
	check(file >= 0 && write(file, "x", 1) == 1, "copied");
	close(file);
	expect("copied");
	touch(open("copied", O_RDONLY), "copied");
	touch(open("created", O_CREAT | O_RDWR, 0644), "created");
	/* An overlay copies what it shall rename: the kernel reads it by its old name. */
	check(!rename("renamed", "new name"), "rename");
	expect_of(getpid(), "may", "renamed");
	touch(open("new name", O_RDONLY), "new name");
}

static void map(const char *name)
{
	int file = open(name, O_RDONLY);
	volatile char *content;

	check(file >= 0, name);
	expect(name);
	content = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, file, 0);
	check(content != MAP_FAILED, "mmap");
	close(file);
	(void)content[FILE_BYTES - 1];
	(void)content[0];
}

static void maps(void)
{
	start("mmap");
	map("second");
	map("first");
}

static void unread(void)
{
	static const char * const opened[] = { "b", "c", "a" };
	size_t i;

	start("unread");
	for (i = 0; i < COUNT(opened); i++) {
		int file = open(opened[i], O_RDONLY);

		check(file >= 0, opened[i]);
		close(file);
		expect(opened[i]);
	}
}

/* Execute a program by a name; return its pid when it has ended well. */
static pid_t run(const char *program)
{
	pid_t child = fork();
	int status;

	check(child >= 0, "fork");
	if (!child) {
		execl(program, program, NULL);
		_exit(126);
	}
	check(waitpid(child, &status, 0) == child && !status, program);
	return child;
}

static void executions(void)
{
	pid_t child;

	start("exec");
	expect_of(run("/w/exec/static"), "exec", "static");
	expect_of(run("./relative"), "exec", "relative");
	child = run("/w/exec/script");
	expect_of(child, "exec", "script");
	expect_of(child, "exec", "interpreter");
	/* The interpreter opens the script that it is handed. */
	expect_of(child, "open", "script");
	child = run("/w/exec/dynamic");
	expect_of(child, "exec", "dynamic");
	expect_of(child, "load", "loader");
}

static void failed(void)
{
	struct stat status;
	pid_t child;
	int file;

	start("failed");
	check(open("missing", O_RDONLY) < 0, "missing");
	expect_never("missing");
	check(open("exclusive", O_CREAT | O_EXCL | O_RDONLY, 0644) < 0, "exclusive");
	check(open("exclusive/below", O_RDONLY) < 0, "not a directory");
	expect_never("exclusive");
	expect_never("exclusive/below");
	file = open("place", O_PATH);
	check(file >= 0 && dup(file) >= 0, "O_PATH");
	expect_never("place");
	check(!stat("stat", &status), "stat");
	expect_never("stat");
	check(open(".", O_RDONLY | O_DIRECTORY) >= 0, "directory");
	/* Older overlays have no files without a name. */
	file = open(".", O_TMPFILE | O_RDWR, 0600);
	file = memfd_create("nowhere", 0);
	check(!ftruncate(file, 4096) &&
	      mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0) != MAP_FAILED, "memfd");
	/*
	 * Executable by its mode, but neither a program nor a script: that the kernel finds out by
	 * reading how it begins.
	 */
	child = fork();
	if (!child) {
		execl("./program", "./program", NULL);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	expect_of(getpid(), "may", "program");
}

static void compat(void)
{
	pid_t child;

	start("32bit");
	child = run("./compat");
	expect_of(child, "exec", "compat");
	expect_of(child, "open", "open");
	expect_of(child, "open", "openat");
	expect_of(child, "open", "openat2");
	expect_of(child, "open", "creat");
}

static void memory(void)
{
	start("tmpfs");
	check(!mount("none", "mounted", "tmpfs", 0, NULL), "tmpfs");
	touch(open("mounted/a", O_CREAT | O_RDWR, 0644), "mounted/a");
	touch(open("mounted/b", O_CREAT | O_RDWR, 0644), "mounted/b");
	touch(open("mounted/a", O_RDONLY), "mounted/a");
}

static void by_handle(void)
{
	struct {
		struct file_handle handle;
		char bytes[MAX_HANDLE_SZ];
	} place = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount_id, directory;

	start("handle");
	/* An overlay gives no handles. */
	check(!mount("none", "mounted", "tmpfs", 0, NULL), "tmpfs");
	check(!mknod("mounted/file", S_IFREG | 0644, 0), "mknod");
	check(!name_to_handle_at(AT_FDCWD, "mounted/file", &place.handle, &mount_id, 0), "handle");
	directory = open("mounted", O_RDONLY | O_DIRECTORY);
	touch(open_by_handle_at(directory, &place.handle, O_RDONLY), "mounted/file");
	close(directory);
}

/* Open a file by io_uring; what io_uring_setup(2) and io_uring_enter(2) ask for, and no more. */
static int ring_open(const char *name)
{
	struct io_uring_params sizes = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, &sizes);
	const int access = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE;
	char *submitted, *completed;
	struct io_uring_sqe *entry;

	check(ring >= 0, "io_uring_setup");
	submitted = mmap(NULL, sizes.sq_off.array + sizes.sq_entries * sizeof(unsigned int), access,
			 how, ring, IORING_OFF_SQ_RING);
	completed = mmap(NULL, sizes.cq_off.cqes + sizes.cq_entries * sizeof(struct io_uring_cqe),
			 access, how, ring, IORING_OFF_CQ_RING);
	entry = mmap(NULL, sizeof(*entry), access, how, ring, IORING_OFF_SQES);
	check(submitted != MAP_FAILED && completed != MAP_FAILED && entry != MAP_FAILED, "ring");
	memset(entry, 0, sizeof(*entry));
	entry->opcode = IORING_OP_OPENAT;
	entry->fd = AT_FDCWD;
	entry->addr = (uintptr_t)name;
	entry->open_flags = O_RDONLY;
	*(unsigned int *)(submitted + sizes.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(submitted + sizes.sq_off.tail), 1, __ATOMIC_RELEASE);
	check(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1,
	      "io_uring_enter");
	errno = -((struct io_uring_cqe *)(completed + sizes.cq_off.cqes))->res;
	return ((struct io_uring_cqe *)(completed + sizes.cq_off.cqes))->res;
}

static void io_uring(void)
{
	static const char * const opened[] = { "second", "first" };
	char buffer[4096];
	size_t i;

	start("iouring");
	for (i = 0; i < COUNT(opened); i++) {
		int file = ring_open(opened[i]);

		check(file >= 0 && read(file, buffer, sizeof(buffer)) > 0, opened[i]);
		close(file);
		expect_of(getpid(), "async", opened[i]);
	}
}

static void storm_process(long number, long opens)
{
	size_t size = (size_t)opens * 64, used = 0;
	char *lines = malloc(size), name[32];
	int file;
	long i;

	for (i = 0; i < opens; i++) {
		snprintf(name, sizeof(name), "file-%ld", (number * 31 + i * 17) % STORM_FILES);
		file = open(name, O_RDONLY);
		check(file >= 0, name);
		close(file);
		used += snprintf(lines + used, size - used, "%d\tstorm\topen\t%s/storm/%s\n",
				 getpid(), named, name);
	}
	/* At once, and appended: lines of processes are not mixed. */
	check(write(fileno(truth), lines, used) == (ssize_t)used, "truth");
}

static void storm(long processes, long opens)
{
	int status;
	long i;

	start("storm");
	for (i = 0; i < processes; i++) {
		pid_t child = fork();

		check(child >= 0, "fork");
		if (!child) {
			storm_process(i, opens);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		check(!status, "a process of the storm");
}

int main(int argc, char **argv)
{
	memset(component, 'n', sizeof(component) - 1);
	if (argc == 3 && !strcmp(argv[1], "prepare")) {
		folder = argv[2];
		prepare();
		return 0;
	}
	check(argc == (argc > 1 && !strcmp(argv[1], "main") ? 7 : 5), "usage");
	folder = argv[2];
	named = argv[3];
	truth = fopen(argv[4], "ae");
	check(truth != NULL, argv[4]);
	if (!strcmp(argv[1], "early")) {
		early();
		return 0;
	}
	order();
	calls();
	relative();
	links();
	names();
	deep();
	deleted();
	bind();
	overlay();
	maps();
	unread();
	executions();
	failed();
	compat();
	memory();
	by_handle();
	io_uring();
	storm(atol(argv[5]), atol(argv[6]));
	return 0;
}
