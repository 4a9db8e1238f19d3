// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * watch.c - records a boot without loading anything into the kernel
 *
 * A static program for an initramfs that holds nothing else. It needs no mounted file system, and
 * keeps running when switch_root empties the initramfs. Start it there under the name
 * "@bootprof-watch" (argv[0]): systemd kills other processes of the initramfs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bootlog_text.h"
#include "messages.h"
#include "watch.h"

#define VERSION		"0.1.0"
#define MIB		(1024UL * 1024)
/* How often text of the kernel's tracer is read, which poll(2) does not report. */
#define LOOK_MS		50
/* The limit of --limit; more events than this need more than 100 GB. */
#define EVENTS_MAX	1000000000L

const char program_name[] = "bootprof-watch";

static const char usage[] =
"usage: bootprof-watch --backend NAME [OPTION]... [PATH]...\n"
"\n"
"Record which files all processes open, or which blocks they read, without loading anything into\n"
"the kernel, until SIGTERM or SIGINT.\n"
"\n"
"  -B, --backend NAME        fanotify: opens and executions on each file system, as a bootlog in\n"
"                            events format\n"
"                            inotify: the same with a watch on each directory, without processes\n"
"                            tracepoints: requests to block devices, as text of the kernel's tracer\n"
"                            block_dump: the same, as text of the kernel's log (before Linux 5.14)\n"
"  -o, --output FILE         file to write; - (default) writes to standard output at the end. Until\n"
"                            the end, FILE is named FILE.partial and has everything recorded so far\n"
"  -l, --limit EVENTS        keep at most this many; later events are counted as lost\n"
"  -m, --memory MIB          memory for standard output; default 64\n"
"  -r, --initramfs-root DIR  folder where the initramfs mounts the root; removed from paths; default\n"
"                            /root\n"
"      --ready-fd N          write \"ready\\n\" to descriptor N when recording starts, and close it\n"
"  -h, --help                print this help\n"
"      --version             print the version\n"
"\n"
"With PATHs, record only files below them (fanotify, inotify). Without, record all file systems\n"
"that are mounted or will be mounted, except virtual ones of the kernel such as proc.\n"
"\n"
"Exit status: 0 success, 1 failure, 2 wrong usage.\n"
"\n"
"  bootprof-watch --backend fanotify --output /tmp/events /usr\n";

static const struct recorder * const recorders[] = {
	&fanotify_recorder, &inotify_recorder, &tracepoints_recorder, &block_dump_recorder,
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
	(void)number;
	stop_asked = 1;
}

static const struct recorder *find_recorder(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(recorders) / sizeof(recorders[0]); i++)
		if (!strcmp(name, recorders[i]->backend))
			return recorders[i];
	fail(2, "give fanotify, inotify, tracepoints or block_dump",
	     "--backend %s: unknown backend", name);
}

struct options {
	const struct recorder *recorder;
	const char *output, *initramfs_root;
	long limit, memory_mib;
	int ready_descriptor;
};

enum { OPTION_READY = 256, OPTION_VERSION };

static void parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "backend", required_argument, NULL, 'B' },
		{ "output", required_argument, NULL, 'o' },
		{ "limit", required_argument, NULL, 'l' },
		{ "memory", required_argument, NULL, 'm' },
		{ "initramfs-root", required_argument, NULL, 'r' },
		{ "ready-fd", required_argument, NULL, OPTION_READY },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{}
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "B:o:l:m:r:h", known, NULL)) != -1) {
		switch (letter) {
		case 'B':
			options->recorder = find_recorder(optarg);
			break;
		case 'o':
			options->output = optarg;
			break;
		case 'l':
			options->limit = parse_number("--limit", optarg, 0, EVENTS_MAX);
			break;
		case 'm':
			options->memory_mib = parse_number("--memory", optarg, 0, 2047);
			break;
		case 'r':
			options->initramfs_root = optarg;
			break;
		case OPTION_READY:
			options->ready_descriptor =
				(int)parse_number("--ready-fd", optarg, 0, 65535);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case OPTION_VERSION:
			puts("bootprof-watch " VERSION);
			exit(0);
		default:
			fail(2, "bootprof-watch --help lists the options", "wrong usage");
		}
	}
	if (!options->recorder)
		fail(2, "bootprof-watch --help lists the backends", "--backend is missing");
	if (optind < argc && !options->recorder->writes_events)
		fail(2, "omit the PATHs", "%s records devices and cannot be limited to PATHs",
		     options->recorder->backend);
}

static void resolve_paths(struct watch *watch, char **arguments)
{
	int i;

	for (i = 0; arguments[i]; i++) {
		char *path = realpath(arguments[i], NULL);

		if (!path)
			fail(2, "", "%s: %s", arguments[i], strerror(errno));
		arguments[i] = path;
	}
	watch->paths = arguments;
	watch->path_count = i;
}

static void write_header(const struct watch *watch)
{
	int64_t now_ms = boot_time_ns() / 1000000;
	struct utsname names;

	uname(&names);
	output_line(BOOTLOG_HEADER, watch->backend, names.release);
	output_line("#start: %" PRId64 ".%03d s after the kernel, %s\n", now_ms / 1000,
		    (int)(now_ms % 1000), watch->mounts.in_initramfs ?
		    "in the initramfs: earlier accesses of its first process are missing" :
		    "with the root mounted: earlier accesses are missing");
}

/* Let signals interrupt the wait for events, and nothing else. */
static void catch_signals(sigset_t *while_waiting)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t blocked;
	size_t i;

	sigemptyset(&blocked);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		sigaction(numbers[i], &action, NULL);
		sigaddset(&blocked, numbers[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, while_waiting);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigdelset(while_waiting, numbers[i]);
	signal(SIGPIPE, SIG_IGN);
}

static void allow_descriptors(void)
{
	struct rlimit limit;

	/* walk() of inotify.c uses one descriptor for each level of folders. */
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	struct options options = {
		.output = "-", .initramfs_root = "/root", .memory_mib = 64, .ready_descriptor = -1,
	};
	struct watch watch = { .proc = -1 };
	const struct timespec look = { .tv_nsec = LOOK_MS * 1000000 };
	struct pollfd list[FEW_DESCRIPTORS];
	sigset_t while_waiting;
	int count;

	parse_options(argc, argv, &options);
	resolve_paths(&watch, argv + optind);
	catch_signals(&while_waiting);
	allow_descriptors();
	watch.backend = options.recorder->backend;
	watch.proc = kernel_file_system("proc", "/proc");
	if (watch.proc < 0)
		fail(1, geteuid() ? "run it as root" : "", "procfs: %s", strerror(errno));
	output_open(options.output, (size_t)options.memory_mib * MIB, (uint64_t)options.limit);
	if (options.recorder->writes_events) {
		mounts_open(&watch.mounts, watch.proc, options.initramfs_root);
		write_header(&watch);
	}
	options.recorder->start(&watch);
	/* Before the processes that it records; otherwise queues overflow on a busy machine. */
	setpriority(PRIO_PROCESS, 0, -20);
	if (options.ready_descriptor >= 0)
		report_ready(options.ready_descriptor);
	count = options.recorder->descriptors(&watch, list);
	while (!stop_asked) {
		ppoll(list, (nfds_t)count, count ? NULL : &look, &while_waiting);
		if (count > 1 && list[1].revents)
			watch.mounts.changed = true;
		options.recorder->take(&watch);
		if (output_flush())
			break;
	}
	options.recorder->end(&watch);
	return output_close();
}
