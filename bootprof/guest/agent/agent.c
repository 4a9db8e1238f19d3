// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * agent.c - starts the backends before the image's first process, and sends the logs to the host
 *
 * The profiler is an initrd archive of its own, which the kernel unpacks over the image's initrd,
 * and this program is the first process (rdinit=/bootprof/agent). It starts the backends from a
 * child, then becomes the image's own /init. It changes and reads no file of the image, so the
 * profiler does not appear in the profile.
 *
 * As the first process it only waits for that child, and no longer than START_SECONDS: if a backend
 * hangs, or the kernel kills the process that loads a module, the boot continues.
 *
 * The child keeps running after switch_root. By then its files are deleted and its root directory
 * is the emptied initramfs, so it keeps descriptors of everything that it needs: sysfs, procfs,
 * devtmpfs and debugfs. It waits for the virtio-serial port "org.bootprof.0" and then answers
 * requests of the host:
 *
 *	guest: "ready KEY=VALUE ...\n", once, when the port exists
 *	host:  "harvest\n"
 *	guest: for each file "file NAME LENGTH\n" and LENGTH bytes, then "end\n"
 *
 * Which backends to start: DMI product family "bootprof:NAME" if the host sets it (QEMU's -smbios
 * type=1,family=...), else bootprof=NAME on the kernel command line, else "kmod". NAME is a backend
 * of recorders.h, or several as "kmod+ebpf", or "auto" for the first one that this kernel supports,
 * in the order of recorders.h. With "none", the archive has no effect.
 *
 * "agent.log" has a line for each backend: its name, "started" or "failed", and the reason,
 * separated by tabs. "processor" tells how busy the guest was: the first lines of /proc/uptime and
 * /proc/stat.
 *
 * Static, and without a shell, because an initrd need not have libraries or a shell.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "files.h"

struct kernel_folders kernel = { -1, -1, -1, -1 };

/*
 * Mount a file system of the kernel on a folder of the initramfs, open it, and detach it: the
 * descriptor remains valid.
 */
static int open_kernel_file_system(const char *type)
{
	char path[NAME_SIZE];
	int directory;

	snprintf(path, sizeof(path), FOLDER "/%s", type);
	mkdir(path, 0700);
	if (mount(type, path, type, 0, NULL))
		return -1;
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	umount2(path, MNT_DETACH);
	return directory;
}

/* Find out which backends to start. */
static void choose_backends(char *list, size_t size)
{
	static char command_line[LINE_SIZE];
	char family[NAME_SIZE];
	char *word;

	snprintf(list, size, "kmod");
	if (read_line(kernel.sysfs, "class/dmi/id/product_family", family, sizeof(family)) > 0 &&
	    !strncmp(family, "bootprof:", 9)) {
		snprintf(list, size, "%s", family + 9);
		return;
	}
	read_line(kernel.procfs, "cmdline", command_line, sizeof(command_line));
	for (word = strtok(command_line, " "); word; word = strtok(NULL, " "))
		if (!strncmp(word, "bootprof=", 9))
			snprintf(list, size, "%s", word + 9);
}

/* The child: start the backends, report to @started, serve the host. */
__attribute__((noreturn))
static void run_backends(const char *list, int started, char *name)
{
	/* systemd kills the processes of an initramfs whose names do not start with an at sign. */
	name[0] = '@';
	setsid();
	append(status_text, sizeof(status_text), "ready backend=%s", list);
	start_backends(list);
	/* A byte, since a hanging child of this one may hold the descriptor, too. */
	if (write(started, "", 1) < 0)
		say("the boot has continued without waiting");
	close(started);
	serve();
}

/* Run the backends in a child; return when it has started them, has died, or takes too long. */
static void start_child(const char *list, char *name)
{
	struct pollfd state = { .events = POLLIN };
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC)) {
		say("pipe: %s", strerror(errno));
		return;
	}
	child = fork();
	if (child == 0) {
		close(ends[0]);
		run_backends(list, ends[1], name);
	}
	close(ends[1]);
	state.fd = ends[0];
	if (child < 0)
		say("fork: %s", strerror(errno));
	else if (poll(&state, 1, START_SECONDS * 1000) == 0)
		say("%s: not started after %d s; the boot continues", list, START_SECONDS);
	close(ends[0]);
	/* Not mounted any more, unless the child has died or hangs. */
	umount2("/sys", MNT_DETACH);
	umount2("/proc", MNT_DETACH);
}

int main(int argc, char **argv)
{
	char list[NAME_SIZE];

	(void)argc;
	kernel.sysfs = open_kernel_file_system("sysfs");
	kernel.procfs = open_kernel_file_system("proc");
	choose_backends(list, sizeof(list));
	if (strcmp(list, "none")) {
		kernel.devtmpfs = open_kernel_file_system("devtmpfs");
		kernel.debugfs = open_kernel_file_system("debugfs");
		start_child(list, argv[0]);
	}
	argv[0] = "/init";
	execv("/init", argv);
	say("/init: %s", strerror(errno));
	return 1;
}
