// SPDX-License-Identifier: GPL-2.0-only
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
 * Which backends to start: DMI product family "bootprof:NAME" if the host says so (QEMU's -smbios
 * type=1,family=...), else bootprof=NAME on the kernel command line. NAME is "kmod", one of the
 * recorders below, several of them as "kmod+ebpf", or "auto" for the first of kmod, ebpf, fanotify
 * and inotify that this kernel lets start. With "none", the archive is as if it were not there.
 *
 * What became of each is in "agent.log", a line each: backend, "started" or "failed", and why,
 * separated by tabs. "processor" is how busy the guest was until then: the first lines of
 * /proc/uptime and /proc/stat.
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

/* What the ready line tells the host: what was asked for, and what was started. */
static char status_text[LINE_SIZE];

/* The lines of agent.log. */
static char log_text[2 * LINE_SIZE];

/*
 * A program that records: it says on descriptor 3 that it has begun, and writes what it has
 * recorded when it is told to end.
 */
struct recorder {
	const char *backend;
	/* systemd ends what it finds running, unless its name begins with an at sign. */
	const char *name;
	const char *file;
	pid_t process;
	int output;
};

static struct recorder recorders[] = {
	{ .backend = "ebpf", .name = "@bootprof-trace", .file = "ebpf.events" },
	{ .backend = "fanotify", .name = "@bootprof-watch", .file = "fanotify.events" },
	{ .backend = "inotify", .name = "@bootprof-watch", .file = "inotify.events" },
	{ .backend = "tracepoints", .name = "@bootprof-watch", .file = "tracepoints.log" },
	{ .backend = "block_dump", .name = "@bootprof-watch", .file = "block_dump.log" },
};

#define RECORDERS	(sizeof(recorders) / sizeof(recorders[0]))
#define AUTO_BACKENDS	"kmod+ebpf+fanotify+inotify"

/* Directories of the kernel's file systems, or -1: see open_kernel_file_system(). */
static int sysfs = -1, procfs = -1, devtmpfs = -1, debugfs = -1;

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

/* Add text to a buffer, as far as there is room. */
static void append(char *buffer, size_t size, const char *format, ...)
{
	size_t used = strlen(buffer);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(buffer + used, size - used, format, arguments);
	va_end(arguments);
}

/* Note what became of a backend, for the host and in the kernel's log. */
static void note(const char *backend, const char *state, const char *reason)
{
	append(log_text, sizeof(log_text), "%s\t%s\t%s\n", backend, state, reason);
	append(status_text, sizeof(status_text), " %s=%s", state, backend);
	say("%s %s%s%s", backend, state, reason[0] ? ": " : "", reason);
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
static void choose_backend(char *backend, size_t size)
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
	if (procfs < 0 || read_small(procfs, "cmdline", command_line, sizeof(command_line)))
		return;
	for (word = strtok(command_line, " "); word; word = strtok(NULL, " "))
		if (!strncmp(word, "bootprof=", 9))
			snprintf(backend, size, "%s", word + 9);
}

/* Load one kernel module, "NAME.ko PARAMETERS"; return 0 or the error. */
static int load_module(char *line)
{
	char *parameters = strchr(line, ' ');
	char path[LINE_SIZE + sizeof(FOLDER)];
	int file, error = 0;

	if (parameters)
		*parameters++ = '\0';
	snprintf(path, sizeof(path), FOLDER "/%s", line);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || syscall(SYS_finit_module, file, parameters ? parameters : "", 0))
		error = errno;
	if (file >= 0)
		close(file);
	return error;
}

/* Load our module, the first of the list, and those that the image's maker has added. */
static bool start_kmod(void)
{
	FILE *list = fopen(FOLDER "/modules", "re");
	char line[LINE_SIZE], reason[2 * NAME_SIZE];
	bool first = true, started = false;
	int error, folder;

	if (!list) {
		note("kmod", "failed", "the profiler archive has no kernel module");
		return false;
	}
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		error = load_module(line);
		snprintf(reason, sizeof(reason), "%.64s: %s", line,
			 error ? strerrorname_np(error) : "loaded");
		if (!first) {
			note("module", error ? "failed" : "started", reason);
			continue;
		}
		first = false;
		folder = openat(debugfs, "bootprof", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (debugfs < 0 || (!error && folder < 0))
			snprintf(reason, sizeof(reason), "this kernel has no debugfs to read from");
		started = !error && folder >= 0;
		note("kmod", started ? "started" : "failed", started ? "" : reason);
		if (folder >= 0)
			close(folder);
	}
	fclose(list);
	return started;
}

static bool wait_until_ready(int ready, int errors, char *reason, size_t size)
{
	char byte;
	ssize_t length;

	if (read(ready, &byte, 1) == 1)
		return true;
	length = read(errors, reason, size - 1);
	reason[length > 0 ? length : 0] = '\0';
	reason[strcspn(reason, "\n")] = '\0';
	if (!reason[0])
		snprintf(reason, size, "it ended without a word");
	return false;
}

/*
 * Start a recorder and wait until it records. It finds the kernel's file systems where programs
 * look for them, but for that while only.
 */
static bool start_recorder(struct recorder *recorder)
{
	const char *name = recorder->name;
	char path[NAME_SIZE * 2], reason[LINE_SIZE / 4];
	int output[2], ready[2], errors[2];
	bool sys, proc, started;

	if (pipe2(output, O_CLOEXEC) || pipe2(ready, O_CLOEXEC) ||
	    pipe2(errors, O_CLOEXEC | O_NONBLOCK))
		return false;
	mkdir("/sys", 0755);
	mkdir("/proc", 0755);
	sys = !mount("sysfs", "/sys", "sysfs", 0, NULL);
	proc = !mount("proc", "/proc", "proc", 0, NULL);
	recorder->process = fork();
	if (recorder->process == 0) {
		/* Away from 3 first, in case a pipe has that number. */
		int ready_end = fcntl(ready[1], F_DUPFD_CLOEXEC, 10);

		setsid();
		dup2(output[1], STDOUT_FILENO);
		/* Nobody reads on once it has begun: what it says then is lost, and never waits. */
		dup2(errors[1], STDERR_FILENO);
		dup2(ready_end, 3);
		snprintf(path, sizeof(path), FOLDER "/%s", name + 1);
		if (strstr(name, "watch"))
			execl(path, name, "--backend", recorder->backend, "--output", "-",
			      "--ready-fd", "3", NULL);
		else
			execl(path, name, "--output", "-", "--ready-fd", "3", NULL);
		dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
		_exit(127);
	}
	close(output[1]);
	close(ready[1]);
	close(errors[1]);
	started = wait_until_ready(ready[0], errors[0], reason, sizeof(reason));
	note(recorder->backend, started ? "started" : "failed", started ? "" : reason);
	close(ready[0]);
	if (sys)
		umount2("/sys", MNT_DETACH);
	if (proc)
		umount2("/proc", MNT_DETACH);
	if (started) {
		recorder->output = output[0];
	} else {
		close(output[0]);
		close(errors[0]);
		recorder->process = 0;
	}
	return started;
}

/* Start one backend by its name. */
static bool start(const char *backend)
{
	size_t i;

	if (!strcmp(backend, "kmod"))
		return start_kmod();
	for (i = 0; i < RECORDERS; i++)
		if (!strcmp(backend, recorders[i].backend))
			return start_recorder(&recorders[i]);
	note(backend, "failed", "this agent does not know it");
	return false;
}

/* Start all backends of a list, or of "auto" the first one that can be started. */
static void start_backends(const char *list)
{
	bool first_only = !strcmp(list, "auto");
	char names[LINE_SIZE];
	char *name, *rest;

	snprintf(names, sizeof(names), "%s", first_only ? AUTO_BACKENDS : list);
	for (name = strtok_r(names, "+", &rest); name; name = strtok_r(NULL, "+", &rest))
		if (start(name) && first_only)
			return;
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

static void send_data(int port, const char *name, const char *data, size_t length)
{
	char line[NAME_SIZE * 2];

	snprintf(line, sizeof(line), "file %s %zu\n", name, length);
	write_all(port, line, strlen(line));
	write_all(port, data, length);
}

static void send_file(int port, const char *name, int file)
{
	size_t length;
	char *data;

	if (file < 0)
		return;
	data = read_whole(file, &length);
	if (data)
		send_data(port, name, data, length);
	free(data);
}

static void harvest(int port)
{
	int folder = openat(debugfs, "bootprof", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int control = openat(folder, "control", O_WRONLY | O_CLOEXEC);
	char busy[LINE_SIZE] = "", line[LINE_SIZE];
	size_t i;

	if (!read_small(procfs, "uptime", line, sizeof(line)))
		append(busy, sizeof(busy), "%s\n", line);
	if (!read_small(procfs, "stat", line, sizeof(line)))
		append(busy, sizeof(busy), "%s\n", line);
	/* The log ends here: what the harvest itself does is no part of the boot. */
	if (control >= 0) {
		if (write(control, "stop\n", 5) != 5)
			say("the tracer did not stop: %s", strerror(errno));
		close(control);
	}
	for (i = 0; i < RECORDERS; i++)
		if (recorders[i].process > 0)
			kill(recorders[i].process, SIGTERM);
	for (i = 0; folder >= 0 && i < sizeof(harvested) / sizeof(harvested[0]); i++)
		send_file(port, harvested[i],
			  openat(folder, harvested[i], O_RDONLY | O_CLOEXEC));
	for (i = 0; i < RECORDERS; i++) {
		if (recorders[i].process > 0)
			send_file(port, recorders[i].file, recorders[i].output);
		recorders[i].process = 0;
	}
	send_data(port, "processor", busy, strlen(busy));
	send_data(port, "agent.log", log_text, strlen(log_text));
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
	append(status_text, sizeof(status_text), "\n");
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

	(void)argc;
	/* QEMU's answer and the kernel's parameters are all that is needed to decide. */
	sysfs = open_kernel_file_system("sysfs");
	procfs = open_kernel_file_system("proc");
	choose_backend(backend, sizeof(backend));
	if (strcmp(backend, "none")) {
		append(status_text, sizeof(status_text), "ready backend=%s", backend);
		devtmpfs = open_kernel_file_system("devtmpfs");
		debugfs = open_kernel_file_system("debugfs");
		start_backends(backend);
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
