/* Read ahead what a boot wants of a squashfs, while the system starts.
 *
 *	bootprof-readahead [--max-share PERCENT] [--slowest KIB_PER_SECOND] [--offset BYTES]
 *		[--log FILE] LIST SQUASHFS
 *
 * LIST is what `bootprof readahead` wrote; SQUASHFS is the file that the loop device of the root
 * stands on, or a block device. The loop device reads through the page cache of that file, so what
 * is in there costs the boot no read of the medium. (Of a squashfs that is mounted from a block
 * device itself the kernel takes nothing from the page cache since 5.8.)
 *
 * It must never make a boot slower:
 * - One chunk is on its way at a time, so a read of somebody else waits for one chunk at most.
 * - Between two chunks nothing of ours is on its way: reads that the drive has to do then are those
 *   of others, and we wait until they are done.
 * - The I/O priority is idle, where the scheduler has such a thing.
 * - It stops when it is slower than --slowest: then seeks between us and others eat the gain.
 * - It stops when the page cache would take more than --max-share of the memory that is available.
 *
 * readahead(2) and not io_uring: with one chunk on its way there is no queue to fill, and kernels
 * without io_uring, or with it switched off, boot live systems too.
 *
 * It keeps what it needs open, since the initramfs that it starts in goes away under it. A second
 * one with the same list waits for the first. One line to --log says what was done.
 */
#define _GNU_SOURCE
/* Media over 2 GiB, on 32-bit systems too. */
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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

#define MAGIC "#bootprof-readahead 1\n"
#define SUPERBLOCK_BYTES 96 /* struct squashfs_super_block */
#define LIST_BYTES_MAX (64 << 20)
/* Half a second of a slow CD. With less, the head goes to and fro between us and others; of 1 MiB, it
 * does half as often as of 128 KiB. */
#define CHUNK_BYTES (1 << 20)
#define START_BYTES (128 << 10)
/* Seconds of reading after which its speed is judged. */
#define JUDGED_SECONDS 2
#define LONGEST_PAUSE_NS 500000000L
#define LOOK_NS 1000000L
/* Looks without reads of others, after which we go on: who reads a file block by block shall not
 * meet a chunk of ours between two blocks. */
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
	uint64_t squashfs_bytes;
	size_t count;
	struct range *ranges;
};

struct work {
	int squashfs, meminfo, inflight;
	uint64_t base, step; /* bytes; of one readahead(2) */
	uint64_t done_bytes, checked_bytes, timed_bytes;
	int64_t read_ns, paused_ns;
	unsigned int pauses, max_share;
	uint64_t slowest; /* bytes a second */
	const char *why; /* it stopped, or NULL */
};

static int log_file = STDOUT_FILENO;

static void say(const char *format, ...)
{
	char line[512] = "bootprof-readahead: ";
	size_t used = strlen(line);
	va_list words;

	va_start(words, format);
	vsnprintf(line + used, sizeof(line) - used - 1, format, words);
	va_end(words);
	strcat(line, "\n");
	/* There is nobody to tell that the log is full; one write is one record of /dev/kmsg. */
	if (write(log_file, line, strlen(line)) < 0)
		return;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Parse digits up to a given end; false if there is something else or too much. */
static bool parse_number(const char **text, char end, uint64_t *value)
{
	const char *at = *text;

	*value = 0;
	for (; *at >= '0' && *at <= '9' && at - *text < 18; at++)
		*value = *value * 10 + (*at - '0');
	if (at == *text || *at != end)
		return false;
	*text = at + 1;
	return true;
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
	if (!parse_number(&line, '\t', &range->offset) ||
	    !parse_number(&line, '\t', &range->length) || !range->length)
		return false;
	range->tables = !strncmp(line, "tables\n", 7);
	return range->tables || !strncmp(line, "data\n", 5);
}

/* Return the number of the line that is damaged, 0 if none is. */
static size_t parse_lines(const char *text, struct list *list)
{
	bool superblock = false, size = false, counted = false;
	uint64_t count = 0, end = 0;
	const char *line = text, *value;
	size_t number = 1;

	for (; *line; line = strchr(line, '\n') + 1, number++) {
		if (!strncmp(line, "#superblock: ", 13)) {
			superblock = parse_superblock(line + 13, list->superblock);
		} else if (!strncmp(line, "#squashfs_bytes: ", 17)) {
			value = line + 17;
			size = parse_number(&value, '\n', &list->squashfs_bytes);
		} else if (!strncmp(line, "#ranges: ", 9)) {
			value = line + 9;
			if (counted || !parse_number(&value, '\n', &count) || count > LIST_BYTES_MAX / 8)
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

/* Read the list; complain and return false if it is none. It stays open, and locked. */
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
		say("%s: cannot be read", name);
		return false;
	}
	if (strncmp(text, MAGIC, strlen(MAGIC)) || strlen(text) < size) {
		say("%s: not a readahead list", name);
		return false;
	}
	if (text[size - 1] != '\n') {
		say("%s: cut off", name);
		return false;
	}
	damaged = parse_lines(text, list);
	free(text);
	if (damaged)
		say("%s: damaged, or cut off, at line %zu", name, damaged);
	return !damaged;
}

/* Open a file of the disk that the squashfs is on, in /sys. -1 if it is on none. */
static int open_of_disk(const struct stat *status, const char *name)
{
	dev_t disk = S_ISBLK(status->st_mode) ? status->st_rdev : status->st_dev;
	char path[128];

	/* The queue is that of the whole disk; partitions have none. */
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(disk), minor(disk));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s%s", major(disk), minor(disk),
		 access(path, F_OK) ? "" : "../", name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t number_in(int file)
{
	char text[64] = "";

	return file >= 0 && pread(file, text, sizeof(text) - 1, 0) > 0 ? strtoull(text, NULL, 10) : 0;
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

/* Wait while the drive has reads of others to do. */
static void give_way(struct work *work)
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
	/* Page cache counts as available: what was read already does not lower it. */
	return work->done_bytes + more <= available_bytes(work->meminfo) / 100 * work->max_share;
}

/* Read one chunk into the page cache, and wait until it is there. */
static bool read_chunk(struct work *work, uint64_t offset, uint64_t length)
{
	uint64_t place = work->base + offset, done;
	int64_t start, took;
	char byte;

	if (!enough_memory(work, length)) {
		work->why = "memory is short";
		return false;
	}
	give_way(work);
	start = now_ns();
	/* The kernel cuts what is over the limit of the device off, without a word. */
	for (done = 0; done < length; done += work->step)
		readahead(work->squashfs, place + done, lesser(length - done, work->step));
	if (pread(work->squashfs, &byte, 1, place + length - 1) != 1) {
		work->why = "the medium cannot be read";
		return false;
	}
	took = now_ns() - start;
	work->done_bytes += length;
	/* What was in the page cache tells nothing about the medium. */
	if (took > LOOK_NS) {
		work->read_ns += took;
		work->timed_bytes += length;
	}
	if (work->read_ns > JUDGED_SECONDS * INT64_C(1000000000) &&
	    work->timed_bytes * 1000 / (work->read_ns / 1000000) < work->slowest) {
		work->why = "the medium is slow";
		return false;
	}
	return true;
}

/* Read the superblock and what is around it: who mounts the squashfs begins with that, and so does
 * who looks what is on the loop device, further than the list has it. The tables may be at the
 * other end of the medium. */
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

	for (i = 0; i < list->count && !work->why; i++) {
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
	/* The list is all that is wanted: no readahead of the kernel's own. */
	posix_fadvise(work->squashfs, 0, 0, POSIX_FADV_RANDOM);
	if (pread(work->squashfs, superblock, SUPERBLOCK_BYTES, work->base) != SUPERBLOCK_BYTES ||
	    memcmp(superblock, list->superblock, SUPERBLOCK_BYTES)) {
		say("%s: not the squashfs that the list was made for; nothing is read ahead", name);
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

static bool option_number(const char *text, uint64_t *value)
{
	return parse_number(&text, '\0', value);
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
	int option, file;
	size_t i;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'l') {
			file = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
			if (file >= 0)
				log_file = file;
		} else if (option == 'm' && option_number(optarg, &value) && value <= 100) {
			work.max_share = value;
		} else if (option == 's' && option_number(optarg, &value)) {
			work.slowest = value << 10;
		} else if (option == 'b') {
			background = true;
		} else if (option == 'o' && option_number(optarg, &value)) {
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
	if (!read_list(argv[optind], &list) || !open_squashfs(argv[optind + 1], &list, &work))
		return 2;
	for (i = 0; i < list.count; i++)
		total += list.ranges[i].length;
	read_start(&work, &list);
	/* The mount wants tables first, wherever they lie. */
	read_ranges(&work, &list, true);
	/* Beside the reads of the mount, the data would send the head to and fro. */
	if (background && fork() > 0)
		_exit(0);
	read_ranges(&work, &list, false);
	say("%llu of %llu bytes, %zu ranges, %lld ms, gave way %u times for %lld ms, %s%s",
	    (unsigned long long)work.done_bytes, (unsigned long long)total, list.count,
	    (long long)((now_ns() - start) / 1000000), work.pauses,
	    (long long)(work.paused_ns / 1000000), work.why ? "stopped: " : "complete",
	    work.why ? work.why : "");
	return 0;
}
