// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof-readahead.c - reads what a boot needs of a squashfs ahead, while the system starts
 *
 *	bootprof-readahead [--max-share PERCENT] [--slowest KIB_PER_SECOND] [--offset BYTES]
 *		[--log FILE] [--background] LIST SQUASHFS
 *
 * LIST is the output of `bootprof readahead`. SQUASHFS, or an EROFS, is the file behind the root's
 * loop device, or a block device. The loop device reads through the page cache of that file, so the
 * boot need not read from the medium what is in there. (For a squashfs that is mounted from a block
 * device, the kernel has not used the page cache of the device since 5.8.)
 *
 * It must never slow down a boot:
 * - It reads one chunk at a time, so that a read of another process waits for at most one chunk.
 * - Between two chunks it has no request in flight. If the drive has requests then, they are those
 *   of other processes, and it waits until they are done.
 * - It uses the idle I/O priority, if the scheduler supports it.
 * - It stops when it reads slower than --slowest: seeks between its reads and those of other
 *   processes then cost more than it gains.
 * - It stops at the first read that fails: the medium is damaged, cut short or gone.
 * - With --background, it returns after some seconds even if the medium hangs.
 * - It stops when the page cache would take more than --max-share of the available memory.
 *
 * It uses readahead(2) and not io_uring: with one chunk at a time there is no queue to fill, and
 * live systems also boot with kernels that lack io_uring or disable it.
 *
 * It keeps open what it needs, since the initramfs that it starts in is deleted. A second process
 * with the same list waits for the first. It writes one line to --log at the end.
 */
#define _GNU_SOURCE
/* For media larger than 2 GiB on 32-bit systems. */
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "../common/numbers.h"

#define MAGIC "#bootprof-readahead 1\n"
#define SUPERBLOCK_BYTES 96 /* struct squashfs_super_block, and most of that of EROFS */
/* Of EROFS; squashfs begins with its superblock. */
#define SUPERBLOCK_OFFSET_MAX 65536
#define LIST_BYTES_MAX (64 << 20)
/*
 * Half a second of a slow CD. With smaller chunks, the head moves more often between the reads of
 * this program and those of others: twice as often with 128 KiB as with 1 MiB.
 */
#define CHUNK_BYTES (1 << 20)
#define START_BYTES (128 << 10)
/*
 * With --background, mount waits for the tables at most so many seconds: several times what a
 * CD-ROM drive needs to start and read 10 MiB. mount may not need the sector that the drive hangs
 * at.
 */
#ifndef TABLES_SECONDS
#define TABLES_SECONDS 30
#endif
/* Seconds of reading before the speed is measured against --slowest. */
#define JUDGED_SECONDS 2
#define LONGEST_PAUSE_NS 500000000L
#define LOOK_NS 1000000L
/*
 * Looks without a request of another process before the next chunk, so that a chunk does not fall
 * between two blocks of a file that another process reads.
 */
#define QUIET_LOOKS 3
#define MEMORY_CHECK_BYTES (1 << 20)
/* linux/ioprio.h */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_IDLE (3 << 13)

struct range {
	uint64_t offset, length;
	bool tables;
};

struct list {
	unsigned char superblock[SUPERBLOCK_BYTES];
	uint64_t squashfs_bytes, superblock_offset;
	size_t count;
	struct range *ranges;
};

struct work {
	int squashfs, meminfo, inflight;
	uint64_t base; /* offset of the squashfs */
	uint64_t step; /* bytes of one readahead(2) */
	uint64_t done_bytes, checked_bytes, timed_bytes;
	int64_t read_ns, paused_ns;
	unsigned int pauses, max_share;
	uint64_t slowest; /* bytes a second */
	const char *stopped; /* why it stopped, or NULL */
};

static int log_file = STDOUT_FILENO;

static void say(const char *format, ...)
{
	char line[512] = "bootprof-readahead: ";
	size_t used = strlen(line);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
	va_end(arguments);
	strcat(line, "\n");
	/* One write is one record of /dev/kmsg. An error has nowhere to be reported. */
	if (write(log_file, line, strlen(line)) < 0)
		return;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static bool parse_superblock(const char *text, unsigned char *superblock)
{
	unsigned int byte;
	size_t i;

	for (i = 0; i < SUPERBLOCK_BYTES; i++) {
		if (strspn(text + 2 * i, "0123456789abcdef") < 2)
			return false;
		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		superblock[i] = byte;
	}
	return text[2 * SUPERBLOCK_BYTES] == '\n';
}

static bool parse_range(const char *line, struct range *range)
{
	if (!take_number(&line, '\t', &range->offset) ||
	    !take_number(&line, '\t', &range->length) || !range->length)
		return false;
	range->tables = !strncmp(line, "tables\n", 7);
	return range->tables || !strncmp(line, "data\n", 5);
}

/* Parse a list. Returns the number of the first damaged line, or 0. */
static size_t parse_lines(const char *text, struct list *list)
{
	bool superblock = false, size = false, counted = false;
	uint64_t count = 0, end = 0;
	const char *line = text, *value;
	size_t number = 1;

	for (; *line; line = strchr(line, '\n') + 1, number++) {
		if (!strncmp(line, "#superblock: ", 13)) {
			superblock = parse_superblock(line + 13, list->superblock);
		} else if (!strncmp(line, "#superblock_offset: ", 20)) {
			value = line + 20;
			if (!take_number(&value, '\n', &list->superblock_offset) ||
			    list->superblock_offset > SUPERBLOCK_OFFSET_MAX)
				return number;
		} else if (!strncmp(line, "#squashfs_bytes: ", 17)) {
			value = line + 17;
			size = take_number(&value, '\n', &list->squashfs_bytes);
		} else if (!strncmp(line, "#ranges: ", 9)) {
			value = line + 9;
			if (counted || !take_number(&value, '\n', &count) ||
			    count > LIST_BYTES_MAX / 8)
				return number;
			list->ranges = calloc(count + 1, sizeof(*list->ranges));
			counted = list->ranges;
		} else if (*line != '#') {
			struct range *range;

			if (!superblock || !size || !counted || list->count == count)
				return number;
			range = list->ranges + list->count;
			if (!parse_range(line, range) || range->offset < end ||
			    range->offset + range->length > list->squashfs_bytes)
				return number;
			end = range->offset + range->length;
			list->count++;
		}
	}
	return superblock && size && counted && list->count == count ? 0 : number;
}

/* Read the list; report the error and return false if there is one. It stays open and locked. */
static bool read_list(const char *name, struct list *list)
{
	int file = open(name, O_RDONLY | O_CLOEXEC);
	size_t size, used = 0, damaged;
	struct stat status;
	ssize_t got;
	char *text;

	if (file < 0 || fstat(file, &status) || flock(file, LOCK_EX)) {
		say("%s: %s", name, strerror(errno));
		return false;
	}
	if (!S_ISREG(status.st_mode) || status.st_size > LIST_BYTES_MAX) {
		say("%s: not a readahead list", name);
		return false;
	}
	size = status.st_size;
	text = calloc(size + 1, 1);
	while (text && used < size && (got = read(file, text + used, size - used)) > 0)
		used += got;
	if (!text || used < size) {
		say("%s: cannot read it", name);
		return false;
	}
	if (strncmp(text, MAGIC, strlen(MAGIC)) || strlen(text) < size) {
		say("%s: not a readahead list", name);
		return false;
	}
	if (text[size - 1] != '\n') {
		say("%s: cut short", name);
		return false;
	}
	damaged = parse_lines(text, list);
	free(text);
	if (damaged)
		say("%s: damaged or cut short at line %zu", name, damaged);
	return !damaged;
}

/* Open an attribute in /sys of the disk with the squashfs; -1 if it is on no disk. */
static int open_of_disk(const struct stat *status, const char *name)
{
	dev_t disk = S_ISBLK(status->st_mode) ? status->st_rdev : status->st_dev;
	char path[128];

	/* Only whole disks have a queue, and partitions do not. */
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(disk), minor(disk));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s%s", major(disk), minor(disk),
		 access(path, F_OK) ? "" : "../", name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t number_in(int file)
{
	char text[64] = "";

	if (file < 0 || pread(file, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return strtoull(text, NULL, 10);
}

static uint64_t available_bytes(int meminfo)
{
	char text[2048] = "";
	const char *line;

	if (meminfo < 0 || pread(meminfo, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	line = strstr(text, "MemAvailable:");
	return line ? strtoull(line + 13, NULL, 10) << 10 : 0;
}

/* Wait while the drive has requests of other processes. */
static void yield_drive(struct work *work)
{
	const struct timespec look = { .tv_nsec = LOOK_NS };
	int64_t start;
	int quiet;

	if (!number_in(work->inflight))
		return;
	start = now_ns();
	for (quiet = 0; quiet < QUIET_LOOKS && now_ns() - start < LONGEST_PAUSE_NS;) {
		nanosleep(&look, NULL);
		quiet = number_in(work->inflight) ? 0 : quiet + 1;
	}
	work->pauses++;
	work->paused_ns += now_ns() - start;
}

static uint64_t lesser(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

static bool enough_memory(struct work *work, uint64_t more)
{
	if (work->done_bytes && work->done_bytes + more < work->checked_bytes)
		return true;
	work->checked_bytes = work->done_bytes + more + MEMORY_CHECK_BYTES;
	/* The page cache counts as available, so earlier reads do not lower it. */
	return work->done_bytes + more <= available_bytes(work->meminfo) / 100 * work->max_share;
}

/* Read one chunk into the page cache, and wait until it is there. */
static bool read_chunk(struct work *work, uint64_t offset, uint64_t length)
{
	uint64_t place = work->base + offset, done;
	int64_t start, took;
	char byte;

	if (!enough_memory(work, length)) {
		work->stopped = "memory is short";
		return false;
	}
	yield_drive(work);
	start = now_ns();
	/* The kernel silently ignores what exceeds the limit of the device. */
	for (done = 0; done < length; done += work->step)
		readahead(work->squashfs, place + done, lesser(length - done, work->step));
	if (pread(work->squashfs, &byte, 1, place + length - 1) != 1) {
		work->stopped = "the medium cannot be read";
		return false;
	}
	took = now_ns() - start;
	work->done_bytes += length;
	/* Reads from the page cache do not show the speed of the medium. */
	if (took > LOOK_NS) {
		work->read_ns += took;
		work->timed_bytes += length;
	}
	if (work->read_ns > JUDGED_SECONDS * INT64_C(1000000000) &&
	    work->timed_bytes * 1000 / (work->read_ns / 1000000) < work->slowest) {
		work->stopped = "the medium is slow";
		return false;
	}
	return true;
}

/*
 * Read the superblock and what follows it: mount reads that first, and so does a probe of the loop
 * device, beyond what the list has. The tables may be at the other end of the medium.
 */
static void read_start(struct work *work, struct list *list)
{
	struct range *first = list->ranges;
	uint64_t chunk = lesser(list->squashfs_bytes, START_BYTES), listed;

	if (!list->count || first->offset || !read_chunk(work, 0, chunk))
		return;
	listed = lesser(chunk, first->length);
	first->offset += listed;
	first->length -= listed;
	work->done_bytes -= chunk - listed;
}

/* Read all ranges of one kind. */
static void read_ranges(struct work *work, const struct list *list, bool tables)
{
	size_t i;

	for (i = 0; i < list->count && !work->stopped; i++) {
		const struct range *range = list->ranges + i;
		uint64_t done, length;

		for (done = 0; range->tables == tables && done < range->length; done += length) {
			length = lesser(range->length - done, CHUNK_BYTES);
			if (!read_chunk(work, range->offset + done, length))
				break;
		}
	}
}

static bool open_squashfs(const char *name, const struct list *list, struct work *work)
{
	unsigned char superblock[SUPERBLOCK_BYTES];
	struct stat status;
	int limit;

	work->squashfs = open(name, O_RDONLY | O_CLOEXEC);
	if (work->squashfs < 0 || fstat(work->squashfs, &status)) {
		say("%s: %s", name, strerror(errno));
		return false;
	}
	/* Read nothing but the list: disable the kernel's own readahead. */
	posix_fadvise(work->squashfs, 0, 0, POSIX_FADV_RANDOM);
	if (pread(work->squashfs, superblock, SUPERBLOCK_BYTES,
		  work->base + list->superblock_offset) != SUPERBLOCK_BYTES ||
	    memcmp(superblock, list->superblock, SUPERBLOCK_BYTES)) {
		say("%s: not the file system that the list was made for; nothing is read ahead",
		    name);
		return false;
	}
	work->meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	work->inflight = open_of_disk(&status, "inflight");
	limit = open_of_disk(&status, "queue/read_ahead_kb");
	work->step = number_in(limit) << 10;
	if (!work->step || work->step > CHUNK_BYTES)
		work->step = CHUNK_BYTES;
	close(limit);
	return true;
}

/*
 * Continue in a child. The parent exits when the child closes the returned descriptor or ends, or
 * after TABLES_SECONDS, even if the child cannot be interrupted.
 */
static int continue_in_background(void)
{
	struct pollfd state = { .events = POLLIN };
	int ends[2];
	pid_t child = pipe(ends) ? -1 : fork();

	if (child < 0) {
		say("cannot continue in the background: %s", strerror(errno));
		_exit(1);
	}
	if (child == 0) {
		close(ends[0]);
		return ends[1];
	}
	close(ends[1]);
	state.fd = ends[0];
	if (poll(&state, 1, TABLES_SECONDS * 1000) == 0)
		say("the tables are not read after %d s; the boot continues", TABLES_SECONDS);
	_exit(0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "max-share", required_argument, NULL, 'm' },
		{ "slowest", required_argument, NULL, 's' },
		{ "offset", required_argument, NULL, 'o' },
		{ "log", required_argument, NULL, 'l' },
		{ "background", no_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	struct work work = { .max_share = 50, .slowest = 256 << 10 };
	struct list list = { .count = 0 };
	uint64_t value, total = 0;
	int64_t start = now_ns();
	bool background = false;
	int option, file, parent = -1;
	size_t i;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'l') {
			file = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
			if (file >= 0)
				log_file = file;
		} else if (option == 'm' && is_number(optarg, &value) && value <= 100) {
			work.max_share = value;
		} else if (option == 's' && is_number(optarg, &value)) {
			work.slowest = value << 10;
		} else if (option == 'b') {
			background = true;
		} else if (option == 'o' && is_number(optarg, &value)) {
			work.base = value;
		} else {
			optind = argc;
			break;
		}
	}
	if (argc - optind != 2) {
		say("usage: bootprof-readahead [--max-share PERCENT] [--slowest KIB_PER_SECOND] "
		    "[--offset BYTES] [--log FILE] [--background] LIST SQUASHFS");
		return 2;
	}
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
	if (!read_list(argv[optind], &list))
		return 2;
	if (background)
		parent = continue_in_background();
	if (!open_squashfs(argv[optind + 1], &list, &work))
		return 2;
	for (i = 0; i < list.count; i++)
		total += list.ranges[i].length;
	read_start(&work, &list);
	/* mount needs the tables first, wherever they are. */
	read_ranges(&work, &list, true);
	/* The data follows in the background: mount must not compete with it for the head. */
	if (parent >= 0)
		close(parent);
	read_ranges(&work, &list, false);
	say("%llu of %llu bytes, %zu ranges, %lld ms, yielded %u times for %lld ms, %s%s",
	    (unsigned long long)work.done_bytes, (unsigned long long)total, list.count,
	    (long long)((now_ns() - start) / 1000000), work.pauses,
	    (long long)(work.paused_ns / 1000000), work.stopped ? "stopped: " : "complete",
	    work.stopped ? work.stopped : "");
	return 0;
}
