// SPDX-License-Identifier: GPL-2.0
/*
 * watch.c - records a boot where nothing can be loaded into the kernel
 *
 * A static program for an initramfs that holds nothing else. It needs no file system mounted, and
 * lives on when switch_root empties the initramfs. Whoever starts it there should call it
 * "@bootprof-watch" (argv[0]): systemd ends what it finds running otherwise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "watch.h"

#define VERSION		"0.1.0"
#define MIB		(1024UL * 1024)
/* What nothing announces (text of the tracer) is looked for so often. */
#define LOOK_MS		50

static const char usage[] =
"usage: bootprof-watch --backend NAME [OPTION]... [PATH]...\n"
"\n"
"Record which files are opened, or which blocks are read, by all processes, without loading\n"
"anything into the kernel, until SIGTERM or SIGINT.\n"
"\n"
"  -B, --backend NAME        fanotify: opens and executions on each file system, a rich bootlog\n"
"                            inotify: the same with a watch on each directory, no processes\n"
"                            tracepoints: requests to block devices, text of the tracer\n"
"                            block_dump: the same as text of the kernel's log (before Linux 5.14)\n"
"  -o, --output FILE         where to write; - (default) is standard output, at the end. FILE is\n"
"                            called FILE.partial until then, and has all that was recorded so far\n"
"  -l, --limit EVENTS        keep at most so many; what comes then is counted as lost\n"
"  -m, --memory MIB          keep at most so much for standard output; default 64\n"
"  -r, --initramfs-root DIR  where the initramfs mounts the root, cut from paths; default /root\n"
"      --ready-fd N          write \"ready\\n\" to descriptor N once it records, and close it\n"
"  -h, --help                print this\n"
"      --version             print the version\n"
"\n"
"With PATHs, only what is below them is recorded (fanotify, inotify). Without, all file systems\n"
"that are mounted, and that are mounted later, but for those that the kernel makes up.\n"
"\n"
"Exit status: 0 done, 1 failed, 2 wrong usage.\n"
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

void warn(const char *format, ...)
{
	va_list arguments;

	fputs("bootprof-watch: warning: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

void fail(int status, const char *hint, const char *format, ...)
{
	va_list arguments;

	fputs("bootprof-watch: error: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	if (hint[0])
		fprintf(stderr, "bootprof-watch: hint: %s\n", hint);
	output_discard();
	exit(status);
}

static unsigned long parse_number(const char *option, const char *text, unsigned long largest)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || number > largest)
		fail(2, "", "%s %s: not a number from 0 to %lu", option, text, largest);
	return number;
}

static const struct recorder *find_recorder(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(recorders) / sizeof(recorders[0]); i++)
		if (!strcmp(name, recorders[i]->backend))
			return recorders[i];
	fail(2, "fanotify, inotify, tracepoints or block_dump", "--backend %s: not known", name);
}

struct options {
	const struct recorder *recorder;
	const char *output, *initramfs_root;
	unsigned long limit, memory_mib;
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
			options->limit = parse_number("--limit", optarg, LONG_MAX);
			break;
		case 'm':
			options->memory_mib = parse_number("--memory", optarg, 2047);
			break;
		case 'r':
			options->initramfs_root = optarg;
			break;
		case OPTION_READY:
			options->ready_descriptor = (int)parse_number("--ready-fd", optarg, 65535);
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
		fail(2, "bootprof-watch --help lists them", "no --backend given");
	if (optind < argc && !options->recorder->rich)
		fail(2, "", "%s records devices, not PATHs", options->recorder->backend);
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
	output_line("#bootprof-bootlog 1\n#backend: %s\n#kernel: %s\n", watch->backend,
		    names.release);
	output_line("#start: %" PRId64 ".%03d s after the kernel, %s\n", now_ms / 1000,
		    (int)(now_ms % 1000), watch->mounts.in_initramfs ?
		    "in the initramfs: what its first process does before is missing" :
		    "with the root mounted: all that came before is missing");
}

/* They come while we wait, and at no other time. */
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

	/* A descriptor for each level of a deep directory. */
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void tell_ready(int descriptor)
{
	if (write(descriptor, "ready\n", 6) < 0)
		warn("nobody waits for \"ready\": %s", strerror(errno));
	close(descriptor);
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
	output_open(options.output, options.memory_mib * MIB, options.limit);
	if (options.recorder->rich) {
		mounts_open(&watch.mounts, watch.proc, options.initramfs_root);
		write_header(&watch);
	}
	options.recorder->start(&watch);
	/* Ahead of what it records, or queues fill on a busy machine. */
	setpriority(PRIO_PROCESS, 0, -20);
	if (options.ready_descriptor >= 0)
		tell_ready(options.ready_descriptor);
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
