// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * workload.c - opens known files in a known order and says which
 *
 *	workload files DIR TRUTH	every way to open a file, and to fail to
 *	workload storm DIR PROCESSES OPENS
 *	workload ranges FILE		reads and maps parts of a file of at least 1 MiB
 *	workload detached DIR		opens DIR/inside through a mount that is attached nowhere
 *	workload cut DIR ROUNDS		reads a file while another process cuts and extends it
 *
 * Lines of TRUTH: pid, tab, operation, tab, path, escaped as in an events file. Statically linked.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 23
#define CUT_SIZE (1 << 20)

static FILE *truth;
static const char *base;

static void check(int condition, const char *what)
{
	if (!condition) {
		perror(what);
		exit(1);
	}
}

static void expect(const char *operation, const char *path)
{
	const char *c;

	fprintf(truth, "%d\t%s\t%s/", getpid(), operation, base);
	for (c = path; *c; c++) {
		if (strchr("\t\n\r\\", *c))
			fprintf(truth, "\\%03o", *c);
		else
			fputc(*c, truth);
	}
	fputc('\n', truth);
	fflush(truth);
}

static void make(const char *name)
{
	int file = open(name, O_CREAT | O_WRONLY, 0755);

	check(file >= 0, name);
	close(file);
	expect("open", name);
}

static int touch(int file, const char *what, const char *path)
{
	check(file >= 0, what);
	close(file);
	expect("open", path);
	return 0;
}

static void run(const char *program)
{
	pid_t child = fork();
	int status;

	if (!child) {
		/* Fails the first time: it is neither a program nor a script. */
		execl("./file-10", "./file-10", NULL);
		execl(program, program, NULL);
		_exit(126);
	}
	waitpid(child, &status, 0);
}

static void files(void)
{
	static const char * const odd[] = {
		"with space", "new\nline", "back\\slash", "tab\there", "unit\\x2d.service",
		"escaped\\012", "trailing ", "\xff\xfe", "#comment", "gone (deleted)",
	};
	struct open_how how = { .flags = O_RDONLY };
	char name[300];
	size_t i;
	int directory, file;
	FILE *script;

	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%zu", i);
		make(name);
	}
	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		make(odd[i]);
	memset(name, 'n', 255);
	name[255] = '\0';
	make(name);
	check(!mkdir("dir", 0755), "mkdir");
	make("dir/inside");

	/* Every call that opens. */
	touch(syscall(SYS_open, "file-0", O_RDONLY), "open", "file-0");
	touch(syscall(SYS_creat, "file-1", 0644), "creat", "file-1");
	touch(syscall(SYS_openat, AT_FDCWD, "./dir/../file-2", O_RDONLY), "openat", "file-2");
	touch(syscall(SYS_openat2, AT_FDCWD, "file-3", &how, sizeof(how)), "openat2", "file-3");
	directory = open("dir", O_RDONLY | O_DIRECTORY);
	touch(openat(directory, "inside", O_RDONLY), "directory handle", "dir/inside");
	check(!chdir("dir"), "chdir");
	touch(open("../file-4", O_RDONLY), "relative", "file-4");
	check(!chdir(".."), "chdir");

	/* The name that was used, with symbolic links resolved. */
	check(!symlink("file-5", "link") && !link("file-6", "hard"), "links");
	touch(open("link", O_RDONLY), "symbolic link", "file-5");
	touch(open("hard", O_RDONLY), "hard link", "hard");
	check(!mkdir("bound", 0755) && !mount("dir", "bound", NULL, MS_BIND, NULL), "bind mount");
	touch(open("bound/inside", O_RDONLY), "bind mount", "bound/inside");
	check(!mkdir("upper", 0755) && !mkdir("work", 0755) && !mkdir("merged", 0755), "mkdir");
	snprintf(name, sizeof(name), "lowerdir=%s/dir,upperdir=%s/upper,workdir=%s/work",
		 base, base, base);
	check(!mount("overlay", "merged", "overlay", 0, name), "overlay");
	touch(open("merged/inside", O_RDONLY), "overlay", "merged/inside");

	/* A deleted file, opened once more through /proc. */
	file = open("file-7", O_RDONLY);
	expect("open", "file-7");
	check(!unlink("file-7"), "unlink");
	snprintf(name, sizeof(name), "/proc/self/fd/%d", file);
	touch(open(name, O_RDONLY), "deleted", "file-7");

	/* None of these opens a regular file. */
	check(open("missing", O_RDONLY) < 0, "missing");
	check(open("file-8", O_CREAT | O_EXCL, 0644) < 0, "exclusive");
	check(open("file-8/below", O_RDONLY) < 0, "not a directory");
	check(dup(file) >= 0 && fcntl(file, F_DUPFD, 0) >= 0, "dup");
	check(open("file-9", O_PATH) >= 0, "O_PATH");
	check(open(".", O_TMPFILE | O_RDWR, 0600) >= 0, "O_TMPFILE");
	check(open("/proc/self/ns/net", O_RDONLY) >= 0, "namespace");
	/* Mapped, so that it could show up with the name of a file that does not exist. */
	file = memfd_create("nowhere", 0);
	check(!ftruncate(file, 4096) &&
	      mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0) != MAP_FAILED, "memfd");

	/* A script, its interpreter, and a file that cannot be executed. */
	script = fopen("script", "w");
	expect("open", "script");
	fprintf(script, "#!%s/interpreter\n", base);
	fclose(script);
	check(!chmod("script", 0755), "chmod");
	run("./script");
	run("./file-10");
}

static void read_at(int file, long offset, long length)
{
	char buffer[65536];

	check(pread(file, buffer, length, offset) == length, "pread");
}

static void ranges(const char *path)
{
	int file = open(path, O_RDONLY);
	volatile char *map;

	check(file >= 0, path);
	/* Whole pages are what is read: 3; then 0, 1 and 2; then 4 to 15, of which 5 is again. */
	read_at(file, 3 * 4096 + 10, 100);
	read_at(file, 0, 16384);
	read_at(file, 5 * 4096, 4096);
	read_at(file, 0, 65536);
	map = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE, file, 0);
	check(map != MAP_FAILED, "mmap");
	(void)map[200 * 4096];
	(void)map[200 * 4096 + 1];
	/* Read before, so that the fault brings nothing new. */
	(void)map[0];
	/* As a further segment of a library is mapped. */
	map = mmap((void *)map, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 4096);
	check(map != MAP_FAILED, "mmap");
}

static void detached(const char *path)
{
	int tree = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE);

	check(tree >= 0, "open_tree");
	check(openat(tree, "inside", O_RDONLY) >= 0, "inside");
}

static void cut(long rounds)
{
	pid_t child = fork();
	char buffer[65536];
	int status;
	long i;

	if (!child) {
		for (;;) {
			/* Fails while the file does not exist. */
			status = truncate("cut", 0);
			status |= truncate("cut", CUT_SIZE);
		}
	}
	for (i = 0; i < rounds; i++) {
		int file = open("cut", O_CREAT | O_RDWR, 0644);

		check(file >= 0 && !ftruncate(file, CUT_SIZE), "cut");
		check(pread(file, buffer, sizeof(buffer), CUT_SIZE / 2) >= 0, "pread");
		check(pread(file, buffer, sizeof(buffer), CUT_SIZE / 4) >= 0, "pread");
		close(file);
		unlink("cut");
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

static void storm(long processes, long opens)
{
	char name[64];
	long i, j;

	for (j = 0; j < FILES; j++) {
		snprintf(name, sizeof(name), "storm-%ld", j);
		close(open(name, O_CREAT | O_WRONLY, 0644));
	}
	for (i = 0; i < processes; i++) {
		if (fork())
			continue;
		for (j = 0; j < opens; j++) {
			snprintf(name, sizeof(name), "storm-%ld", j % FILES);
			close(open(name, O_RDONLY));
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	check(argc >= 3, "usage");
	base = argv[2];
	if (!strcmp(argv[1], "ranges")) {
		ranges(argv[2]);
		return 0;
	}
	if (!strcmp(argv[1], "detached")) {
		detached(argv[2]);
		return 0;
	}
	check(argc >= 4, "usage");
	if (!strcmp(argv[1], "cut")) {
		check(!chdir(base), base);
		cut(atol(argv[3]));
	} else if (!strcmp(argv[1], "files")) {
		truth = fopen(argv[3], "w");
		check(truth && !chdir(base), base);
		files();
		fclose(truth);
	} else {
		check(!chdir(base), base);
		storm(atol(argv[3]), atol(argv[4]));
	}
	return 0;
}
