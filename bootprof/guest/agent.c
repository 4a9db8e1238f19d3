// SPDX-License-Identifier: GPL-2.0
/*
 * agent.c - starts the profiler before anything else in a boot, and hands the bootlog to the host
 *
 * The profiler travels in an initrd archive of its own, unpacked by the kernel over the image's
 * initrd, and this program is started as the first process of it (rdinit=/bootprof/agent). It
 * loads the kernel modules that /bootprof/modules lists, leaves a child behind, and becomes the
 * image's own /init: the boot goes on as if nothing had been there. No file of the image is
 * changed and none is read, so that the profiler does not show up in the profile.
 *
 * The child lives on over switch_root. By then its files are gone and its root directory is the
 * emptied initramfs, so it holds descriptors of all that it will need: the directory in debugfs,
 * sysfs, devtmpfs. It waits for the virtio-serial port "org.bootprof.0" and then answers requests
 * of the host:
 *
 *	guest: "ready KEY=VALUE ...\n", once, when the port is there
 *	host:  "harvest\n"
 *	guest: for each file "file NAME LENGTH\n" and LENGTH bytes, then "end\n"
 *
 * Which backend to start: DMI product family "bootprof:NAME" if the host says so (QEMU's -smbios
 * type=1,family=...), else bootprof=NAME on the kernel command line: "kmod", "ebpf", or both as
 * "kmod+ebpf". With "none", the archive is as if it were not there.
 *
 * Static, without shell or library, because an initrd need not have either.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOLDER		"/bootprof"
#define PORT_NAME	"org.bootprof.0"
#define NAME_SIZE	64
#define LINE_SIZE	4096
#define POLL_MICROSECONDS 100000

/* What the ready line tells the host: backend, kernel modules that failed, and why. */
static char status_text[LINE_SIZE];

/* The BPF tracer, and where it writes its bootlog when it is told to end. */
static pid_t tracer;
static int tracer_output = -1;

/* Directories of the kernel's file systems, or -1: see open_kernel_file_system(). */
static int sysfs = -1, devtmpfs = -1, debugfs = -1;

/* Files of debugfs/bootprof that a harvest returns. */
static const char * const harvested[] = { "stats", "bootlog.list", "events" };

static void say(const char *format, ...)
{
	char line[LINE_SIZE];
	int console = openat(devtmpfs, "kmsg", O_WRONLY | O_CLOEXEC);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (console < 0)
		return;
	dprintf(console, "<5>bootprof-agent: %s\n", line);
	close(console);
}

/* Add " text" to the status line. */
static void add_status(const char *format, ...)
{
	size_t used = strlen(status_text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(status_text + used, sizeof(status_text) - used, format, arguments);
	va_end(arguments);
}

/* Read a small file relative to a directory as a string without its last newline. */
static int read_small(int directory, const char *name, char *buffer, size_t size)
{
	int file = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (file < 0)
		return -errno;
	length = read(file, buffer, size - 1);
	close(file);
	if (length < 0)
		return -EIO;
	buffer[length] = '\0';
	buffer[strcspn(buffer, "\n")] = '\0';
	return 0;
}

/*
 * Mount a kernel file system on a directory of the initramfs, open it, and detach it again: the
 * descriptor stays good, and the image's own scripts find nothing mounted that they do not expect.
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

/* Find out which backend to start; "kmod" if nothing is said. */
static void choose_backend(int proc, char *backend, size_t size)
{
	static char command_line[LINE_SIZE];
	char family[NAME_SIZE];
	char *word;

	snprintf(backend, size, "kmod");
	if (sysfs >= 0 &&
	    !read_small(sysfs, "class/dmi/id/product_family", family, sizeof(family)) &&
	    !strncmp(family, "bootprof:", 9)) {
		snprintf(backend, size, "%s", family + 9);
		return;
	}
	if (proc < 0 || read_small(proc, "cmdline", command_line, sizeof(command_line)))
		return;
	for (word = strtok(command_line, " "); word; word = strtok(NULL, " "))
		if (!strncmp(word, "bootprof=", 9))
			snprintf(backend, size, "%s", word + 9);
}

/* Load one kernel module: "NAME.ko PARAMETERS". */
static void load_module(char *line)
{
	char *parameters = strchr(line, ' ');
	char path[LINE_SIZE + sizeof(FOLDER)];
	int file;

	if (parameters)
		*parameters++ = '\0';
	snprintf(path, sizeof(path), FOLDER "/%s", line);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || syscall(SYS_finit_module, file, parameters ? parameters : "", 0)) {
		add_status(" failed=%s:%s", line, strerrorname_np(errno));
		say("%s not loaded: %s", line, strerror(errno));
	} else {
		add_status(" loaded=%s", line);
	}
	if (file >= 0)
		close(file);
}

static void load_modules(void)
{
	FILE *list = fopen(FOLDER "/modules", "re");
	char line[LINE_SIZE];

	if (!list)
		return;
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0])
			load_module(line);
	}
	fclose(list);
}

/*
 * Start the BPF tracer and wait until it traces. It reads the kernel's types from /sys, which is
 * mounted for that while only.
 */
static void start_tracer(void)
{
	char *const arguments[] = {
		/* systemd ends what it finds running, unless its name begins so. */
		"@bootprof-trace", "--output", "-", "--ready-fd", "3", NULL,
	};
	int output[2], ready[2];
	bool mounted;
	char byte;

	if (pipe2(output, O_CLOEXEC) || pipe2(ready, O_CLOEXEC))
		return;
	mkdir("/sys", 0755);
	mounted = !mount("sysfs", "/sys", "sysfs", 0, NULL);
	tracer = fork();
	if (tracer == 0) {
		/* Away from 3 first, in case a pipe has that number. */
		int ready_end = fcntl(ready[1], F_DUPFD_CLOEXEC, 10);

		setsid();
		dup2(output[1], STDOUT_FILENO);
		dup2(ready_end, 3);
		execv(FOLDER "/bootprof-trace", arguments);
		_exit(127);
	}
	close(output[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1)
		add_status(" loaded=bootprof-trace");
	else
		add_status(" failed=bootprof-trace");
	close(ready[0]);
	if (mounted)
		umount2("/sys", MNT_DETACH);
	tracer_output = output[0];
}

/* Open the virtio port by its name in sysfs, or return -1 while it is not there. */
static int open_port(void)
{
	int folder = openat(sysfs, "class/virtio-ports", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	int port = -1;
	DIR *ports;

	if (folder < 0)
		return -1;
	ports = fdopendir(folder);
	if (!ports) {
		close(folder);
		return -1;
	}
	while (port < 0 && (entry = readdir(ports))) {
		char path[NAME_SIZE * 8];
		char name[NAME_SIZE];

		snprintf(path, sizeof(path), "%s/name", entry->d_name);
		if (!read_small(dirfd(ports), path, name, sizeof(name)) && !strcmp(name, PORT_NAME))
			port = openat(devtmpfs, entry->d_name, O_RDWR | O_CLOEXEC);
	}
	closedir(ports);
	return port;
}

static bool write_all(int file, const char *data, size_t length)
{
	while (length) {
		ssize_t written = write(file, data, length);

		if (written <= 0) {
			/* The host is not connected (yet), or a signal came. */
			if (written < 0 && errno != EINTR && errno != EAGAIN)
				return false;
			usleep(POLL_MICROSECONDS);
			continue;
		}
		data += written;
		length -= written;
	}
	return true;
}

/* Read a file of unknown length whole, and close it. The caller frees what is returned. */
static char *read_whole(int file, size_t *length)
{
	size_t capacity = 1 << 20;
	char *data = malloc(capacity);

	*length = 0;
	while (data) {
		ssize_t got = read(file, data + *length, capacity - *length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		*length += got;
		if (*length == capacity) {
			char *larger = realloc(data, capacity * 2);

			if (!larger)
				break;
			data = larger;
			capacity *= 2;
		}
	}
	close(file);
	return data;
}

static void send_file(int port, const char *name, int file)
{
	char line[NAME_SIZE * 2];
	size_t length;
	char *data;

	if (file < 0)
		return;
	data = read_whole(file, &length);
	if (!data)
		return;
	snprintf(line, sizeof(line), "file %s %zu\n", name, length);
	write_all(port, line, strlen(line));
	write_all(port, data, length);
	free(data);
}

static void harvest(int port)
{
	int folder = openat(debugfs, "bootprof", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int control = openat(folder, "control", O_WRONLY | O_CLOEXEC);
	size_t i;

	/* The log ends here: what the harvest itself does is no part of the boot. */
	if (control >= 0) {
		if (write(control, "stop\n", 5) != 5)
			say("the tracer did not stop: %s", strerror(errno));
		close(control);
	}
	if (tracer > 0)
		kill(tracer, SIGTERM);
	for (i = 0; folder >= 0 && i < sizeof(harvested) / sizeof(harvested[0]); i++)
		send_file(port, harvested[i],
			  openat(folder, harvested[i], O_RDONLY | O_CLOEXEC));
	if (tracer > 0)
		send_file(port, "ebpf.events", tracer_output);
	tracer = 0;
	write_all(port, "end\n", 4);
	if (folder >= 0)
		close(folder);
}

/* Answer requests of the host, for ever. */
static void serve(void)
{
	char request[NAME_SIZE];
	size_t used = 0;
	int port;

	while ((port = open_port()) < 0)
		usleep(POLL_MICROSECONDS);
	add_status("\n");
	write_all(port, status_text, strlen(status_text));
	for (;;) {
		char byte;
		ssize_t got = read(port, &byte, 1);

		if (got != 1) {
			/* Nobody is connected at the other end. */
			usleep(POLL_MICROSECONDS);
			continue;
		}
		if (byte != '\n') {
			if (used < sizeof(request) - 1)
				request[used++] = byte;
			continue;
		}
		request[used] = '\0';
		used = 0;
		if (!strcmp(request, "harvest"))
			harvest(port);
	}
}

int main(int argc, char **argv)
{
	char backend[NAME_SIZE];
	int proc;

	(void)argc;
	/* QEMU's answer and the kernel's parameters are all that is needed to decide. */
	sysfs = open_kernel_file_system("sysfs");
	proc = open_kernel_file_system("proc");
	choose_backend(proc, backend, sizeof(backend));
	if (proc >= 0)
		close(proc);
	if (strcmp(backend, "none")) {
		add_status("ready backend=%s", backend);
		devtmpfs = open_kernel_file_system("devtmpfs");
		if (strstr(backend, "kmod"))
			load_modules();
		if (strstr(backend, "ebpf"))
			start_tracer();
		debugfs = open_kernel_file_system("debugfs");
		if (fork() == 0) {
			/* systemd ends what it finds running, unless its name begins so. */
			argv[0][0] = '@';
			setsid();
			serve();
			_exit(0);
		}
	}
	argv[0] = "/init";
	execv("/init", argv);
	say("/init: %s", strerror(errno));
	return 1;
}
