// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_trace.c - records file accesses with BPF and writes them as a bootlog
 *
 * A static program that contains its BPF object, for an initramfs that holds nothing else. After it
 * has reported that it is ready, it opens no file but its output, so it keeps running when
 * switch_root empties the initramfs. Start it there under the name "@bootprof-trace" (argv[0]):
 * systemd kills other processes of the initramfs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bootlog.h"
#include "event_store.h"
#include "messages.h"
#include "output_file.h"
#include "tracer.h"

#define VERSION		"0.1.0"
/* How often the buffer is drained, unless it is half full before. */
#define DRAIN_MS	50
#define MIB		(1024UL * 1024)
#define LARGEST_MIB	65536

const char program_name[] = "bootprof-trace";

static const char usage[] =
"usage: bootprof-trace [OPTION]... [-- COMMAND [ARGUMENT]...]\n"
"\n"
"Record which files all processes open, execute, map and read from the medium, and write a\n"
"bootlog in events format at the end: after COMMAND, after --seconds, or at SIGTERM or SIGINT.\n"
"\n"
"  -o, --output FILE         bootlog to write; - (default) is standard output\n"
"  -s, --seconds N           stop after N seconds\n"
"  -p, --operations LIST     of open,exec,map,cache,read,fault; default open,exec,map,cache\n"
"                            (read and fault: every use of a page; Linux 6.12 and newer)\n"
"  -r, --initramfs-root DIR  folder where the initramfs mounts the root; removed from the paths\n"
"                            of early processes; default /root\n"
"  -m, --memory MIB          memory for events; later events are counted as lost; default 64\n"
"  -b, --buffer-size KIB     buffer between kernel and program, for all processors; default 8192\n"
"  -k, --perf-buffer         use the perf buffer even if the kernel has the ring buffer\n"
"      --spool FILE          keep the events in FILE and not in memory, so that they survive if\n"
"                            this program is killed\n"
"      --recover FILE        write the bootlog of the spool FILE; record nothing\n"
"      --ready-fd N          write \"ready\\n\" to descriptor N when recording starts, and close it\n"
"      --daemon              return when recording starts, and continue in the background\n"
"      --pidfile FILE        write the process identifier to FILE\n"
"  -v, --verbose             print the output of libbpf and of the kernel's verifier\n"
"  -h, --help                print this help\n"
"      --version             print the version\n"
"\n"
"SIGUSR1 writes the bootlog recorded so far to the FILE of --output and continues.\n"
"\n"
"Exit status: 0 success, 1 failure, 2 wrong usage or input.\n"
"\n"
"  bootprof-trace -o /tmp/events -- ls -l      while ls runs\n"
"  bootprof-trace --daemon --pidfile /run/trace.pid -o /run/bootlog.events\n";

struct options {
	const char *output;
	const char *initramfs_root;
	const char *spool;
	const char *recover;
	const char *pidfile;
	char **command;
	long seconds;
	long memory_mib;
	int ready_descriptor;
	bool daemon;
	struct tracer_options tracer;
};

static volatile sig_atomic_t stop_asked, snapshot_asked, child_ended;

static void on_signal(int number)
{
	if (number == SIGUSR1)
		snapshot_asked = 1;
	else if (number == SIGCHLD)
		child_ended = 1;
	else
		stop_asked = 1;
}

static unsigned int parse_operations(char *text)
{
	static const char * const names[BOOTPROF_OPERATIONS] = {
		[BOOTPROF_OPEN] = "open",   [BOOTPROF_EXEC] = "exec",   [BOOTPROF_MAP] = "map",
		[BOOTPROF_READ] = "read",   [BOOTPROF_FAULT] = "fault", [BOOTPROF_CACHE] = "cache",
	};
	unsigned int operations = 0;
	char *word;

	for (word = strtok(text, ","); word; word = strtok(NULL, ",")) {
		unsigned int i = 0;

		while (i < BOOTPROF_OPERATIONS && strcmp(word, names[i]))
			i++;
		if (i == BOOTPROF_OPERATIONS)
			fail(2, "give one or more of open,exec,map,cache,read,fault",
			     "--operations: unknown operation: %s", word);
		operations |= 1U << i;
	}
	if (!operations)
		fail(2, "give one or more of open,exec,map,cache,read,fault",
		     "--operations: the list is empty");
	return operations;
}

enum { OPTION_SPOOL = 256, OPTION_RECOVER, OPTION_READY, OPTION_DAEMON, OPTION_PIDFILE,
	OPTION_VERSION };

static void parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "seconds", required_argument, NULL, 's' },
		{ "operations", required_argument, NULL, 'p' },
		{ "initramfs-root", required_argument, NULL, 'r' },
		{ "memory", required_argument, NULL, 'm' },
		{ "buffer-size", required_argument, NULL, 'b' },
		{ "perf-buffer", no_argument, NULL, 'k' },
		{ "spool", required_argument, NULL, OPTION_SPOOL },
		{ "recover", required_argument, NULL, OPTION_RECOVER },
		{ "ready-fd", required_argument, NULL, OPTION_READY },
		{ "daemon", no_argument, NULL, OPTION_DAEMON },
		{ "pidfile", required_argument, NULL, OPTION_PIDFILE },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{}
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "+o:s:p:r:m:b:kvh", known, NULL)) != -1) {
		switch (letter) {
		case 'o':
			options->output = optarg;
			break;
		case 's':
			options->seconds = parse_number("--seconds", optarg, 1, 1000000);
			break;
		case 'p':
			options->tracer.operations = parse_operations(optarg);
			break;
		case 'r':
			options->initramfs_root = optarg;
			break;
		case 'm':
			options->memory_mib = parse_number("--memory", optarg, 1, LARGEST_MIB);
			break;
		case 'b':
			options->tracer.buffer_bytes =
				1024UL * (size_t)parse_number("--buffer-size", optarg, 4, 1 << 20);
			break;
		case 'k':
			options->tracer.perf_buffer = true;
			break;
		case OPTION_SPOOL:
			options->spool = optarg;
			break;
		case OPTION_RECOVER:
			options->recover = optarg;
			break;
		case OPTION_READY:
			options->ready_descriptor =
				(int)parse_number("--ready-fd", optarg, 0, 65535);
			break;
		case OPTION_DAEMON:
			options->daemon = true;
			break;
		case OPTION_PIDFILE:
			options->pidfile = optarg;
			break;
		case 'v':
			options->tracer.verbose = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case OPTION_VERSION:
			puts("bootprof-trace " VERSION);
			exit(0);
		default:
			fail(2, "bootprof-trace --help lists the options", "wrong usage");
		}
	}
	if (optind < argc)
		options->command = argv + optind;
	if (options->daemon && (options->command || !strcmp(options->output, "-")))
		fail(2, "give --output FILE and no COMMAND",
		     "--daemon needs an output file, and takes no command");
}

static int write_output(const struct options *options, const struct store *store)
{
	struct output_file output;
	int error = output_file_open(&output, options->output);
	FILE *stream;

	if (error)
		return error;
	stream = fdopen(dup(output.file), "w");
	if (!stream)
		return output_file_finish(&output, -errno);
	error = write_bootlog(stream, store, options->initramfs_root);
	if (fclose(stream) && !error)
		error = -errno;
	return output_file_finish(&output, error);
}

static void catch_signals(void)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD };
	struct sigaction action = { .sa_handler = on_signal };
	size_t i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Start the command, which waits until recording starts. Returns its process identifier. */
static pid_t start_command(char **command, int *held)
{
	int ends[2];
	pid_t child;
	char byte;

	if (pipe2(ends, O_CLOEXEC))
		fail(1, "", "pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		fail(1, "", "fork: %s", strerror(errno));
	if (!child) {
		close(ends[1]);
		if (read(ends[0], &byte, 1) != 1)
			_exit(1);
		execvp(command[0], command);
		complain("", "%s: %s", command[0], strerror(errno));
		_exit(127);
	}
	close(ends[0]);
	*held = ends[1];
	return child;
}

/* Continue in a child; the parent exits when the child records, or with status 1 if it fails. */
static int become_daemon(void)
{
	int ends[2];
	char byte;

	if (pipe2(ends, O_CLOEXEC))
		fail(1, "", "pipe: %s", strerror(errno));
	switch (fork()) {
	case -1:
		fail(1, "", "fork: %s", strerror(errno));
	case 0:
		setsid();
		close(ends[0]);
		return ends[1];
	default:
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 1 ? 0 : 1);
	}
}

/* Write one byte to whoever waits at the other end of a pipe. */
static void release(int descriptor)
{
	if (write(descriptor, "g", 1) < 0)
		warn("the process that waits for the tracer is gone: %s", strerror(errno));
	close(descriptor);
}

static void write_pidfile(const char *name)
{
	FILE *stream = fopen(name, "we");

	if (!stream || fprintf(stream, "%d\n", getpid()) < 0 || fclose(stream))
		fail(1, "", "%s: %s", name, strerror(errno));
}

static void warn_of_losses(const struct store_header *header)
{
	if (header->no_room)
		warn("no memory was left for %llu events; try a larger --memory",
		     (unsigned long long)header->no_room);
	if (header->lost_in_kernel)
		warn("%llu events are missing; try a larger --buffer-size",
		     (unsigned long long)header->lost_in_kernel);
	if (header->skipped_runs)
		warn("the kernel skipped %llu runs of a program; each may have been an event",
		     (unsigned long long)header->skipped_runs);
}

static int64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

static int recover(const struct options *options)
{
	struct store store;
	int error = store_open(&store, options->recover);

	if (error == -EINVAL)
		fail(2, "give the FILE of an earlier --spool",
		     "%s: not a spool file of bootprof-trace", options->recover);
	if (error)
		fail(2, "", "%s: %s", options->recover, strerror(-error));
	return write_output(options, &store) ? 1 : 0;
}

static int record(const struct options *options)
{
	int held = -1, parent = -1;
	struct tracer_error problem;
	struct tracer *tracer;
	struct store store;
	int64_t deadline;
	pid_t child = -1;
	int error;

	if (options->daemon)
		parent = become_daemon();
	catch_signals();
	if (options->command)
		child = start_command(options->command, &held);
	error = store_create(&store, (size_t)options->memory_mib * MIB, options->spool);
	if (error)
		fail(1, "give a smaller --memory", "%s: %ld MiB: %s",
		     options->spool ? options->spool : "memory", options->memory_mib,
		     strerror(-error));
	tracer = tracer_start(&options->tracer, &store, &problem);
	if (!tracer) {
		if (options->spool)
			unlink(options->spool);
		fail(1, problem.hint, "%s", problem.message);
	}
	/* Before the processes that it records, or the buffer overflows on a busy machine. */
	setpriority(PRIO_PROCESS, 0, -20);
	if (options->pidfile)
		write_pidfile(options->pidfile);
	if (options->ready_descriptor >= 0)
		report_ready(options->ready_descriptor);
	if (parent >= 0) {
		int null = open("/dev/null", O_RDWR);

		/* Detach from the terminal. */
		if (null >= 0) {
			dup2(null, STDIN_FILENO);
			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
		}
		release(parent);
	}
	if (held >= 0)
		release(held);
	deadline = options->seconds ? now_ms() + options->seconds * 1000 : INT64_MAX;
	while (!stop_asked) {
		tracer_drain(tracer, DRAIN_MS);
		if (now_ms() >= deadline)
			break;
		if (child_ended && child > 0 && waitpid(child, NULL, WNOHANG) == child)
			break;
		if (snapshot_asked) {
			snapshot_asked = 0;
			if (strcmp(options->output, "-"))
				write_output(options, &store);
		}
	}
	tracer_stop(tracer);
	error = write_output(options, &store);
	warn_of_losses(store.header);
	if (options->pidfile)
		unlink(options->pidfile);
	/* The bootlog contains all of it. */
	if (options->spool && !error)
		unlink(options->spool);
	return error ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options options = {
		.output = "-",
		.initramfs_root = "/root",
		.memory_mib = 64,
		.ready_descriptor = -1,
		.tracer = {
			.operations = 1 << BOOTPROF_OPEN | 1 << BOOTPROF_EXEC | 1 << BOOTPROF_MAP |
				      1 << BOOTPROF_CACHE,
			.buffer_bytes = 8 * MIB,
		},
	};

	parse_options(argc, argv, &options);
	return options.recover ? recover(&options) : record(&options);
}
