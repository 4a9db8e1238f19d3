// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* harvest.c - answers the host on the virtio-serial port: see agent.c for the protocol */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "files.h"

#define PORT_NAME	"org.bootprof.0"
#define POLL_MICROSECONDS 100000
/* A recorder that writes nothing for so long after SIGTERM is given up. */
#ifndef SILENT_SECONDS
#define SILENT_SECONDS	60
#endif

/* Open the virtio port by its name in sysfs; -1 if there is none yet. */
static int open_port(void)
{
	int folder = openat(kernel.sysfs, "class/virtio-ports", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
		if (read_line(dirfd(ports), path, name, sizeof(name)) > 0 &&
		    !strcmp(name, PORT_NAME))
			port = openat(kernel.devtmpfs, entry->d_name, O_RDWR | O_CLOEXEC);
	}
	closedir(ports);
	return port;
}

static bool write_all(int file, const char *data, size_t length)
{
	while (length) {
		ssize_t written = write(file, data, length);

		if (written <= 0) {
			/* The host is not connected yet, or a signal interrupted the call. */
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

/* Whether there is something to read, or the end, before the file has been silent for too long. */
static bool wait_for_data(int file)
{
	struct pollfd state = { .fd = file, .events = POLLIN };
	int ready;

	do {
		ready = poll(&state, 1, SILENT_SECONDS * 1000);
	} while (ready < 0 && errno == EINTR);
	return ready > 0;
}

/*
 * Read a file of unknown length whole, and close it. @silent is set if its end did not come. The
 * caller frees the result.
 */
static char *read_whole(int file, size_t *length, bool *silent)
{
	size_t capacity = 1 << 20;
	char *data = malloc(capacity);

	*length = 0;
	*silent = false;
	while (data) {
		ssize_t got;

		*silent = !wait_for_data(file);
		if (*silent)
			break;
		got = read(file, data + *length, capacity - *length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		*length += (size_t)got;
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

/* Send a file whole, and close it. Returns false if it had no end. */
static bool send_file(int port, const char *name, int file)
{
	bool silent = false;
	size_t length;
	char *data;

	if (file < 0)
		return true;
	data = read_whole(file, &length, &silent);
	if (data)
		send_data(port, name, data, length);
	free(data);
	return !silent;
}

/* Send the files that the kernel module has in debugfs. */
static void send_debugfs(int port, int folder, const char *names)
{
	char list[LINE_SIZE];
	char *name, *rest;

	snprintf(list, sizeof(list), "%s", names);
	for (name = strtok_r(list, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
		send_file(port, name, openat(folder, name, O_RDONLY | O_CLOEXEC));
}

/* Send what a program has recorded; it was told to end. */
static void send_output(int port, struct recorder *recorder)
{
	if (!send_file(port, recorder->files, recorder->output)) {
		append(log_text, sizeof(log_text), "%s\tfailed\tits log has no end after %d s\n",
		       recorder->backend, SILENT_SECONDS);
		kill(recorder->process, SIGKILL);
	}
	waitpid(recorder->process, NULL, WNOHANG);
	recorder->process = 0;
}

static void stop_recording(int folder)
{
	int control = openat(folder, "control", O_WRONLY | O_CLOEXEC);
	size_t i;

	if (control >= 0) {
		if (write(control, "stop\n", 5) != 5)
			say("the kernel module did not stop: %s", strerror(errno));
		close(control);
	}
	for (i = 0; i < recorder_count; i++)
		if (recorders[i].process > 0)
			kill(recorders[i].process, SIGTERM);
}

void harvest(int port)
{
	int folder = openat(kernel.debugfs, "bootprof", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char busy[2 * LINE_SIZE] = "", line[LINE_SIZE];
	size_t i;

	if (read_line(kernel.procfs, "uptime", line, sizeof(line)) > 0)
		append(busy, sizeof(busy), "%s\n", line);
	if (read_line(kernel.procfs, "stat", line, sizeof(line)) > 0)
		append(busy, sizeof(busy), "%s\n", line);
	/* The log ends here: the accesses of the harvest itself are not part of the boot. */
	stop_recording(folder);
	for (i = 0; i < recorder_count; i++) {
		if (!recorders[i].program[0] && folder >= 0)
			send_debugfs(port, folder, recorders[i].files);
		else if (recorders[i].process > 0)
			send_output(port, &recorders[i]);
	}
	send_data(port, "processor", busy, strlen(busy));
	send_data(port, "agent.log", log_text, strlen(log_text));
	write_all(port, "end\n", 4);
	if (folder >= 0)
		close(folder);
}

/* Answer requests of the host, without end. */
void serve(void)
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
			/* The host is not connected. */
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
