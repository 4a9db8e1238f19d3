// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * drive.c - nbdkit plugin that serves an image as slowly as a drive would
 *
 * Each read takes overhead + positioning + transfer. The formulas, and their sources, are those of
 * optimizer/drives/models.py and optimizer/drives/seek.py. Python passes the numbers of the drive
 * as parameters, so model and emulated drive always have the same ones. Requests are served one
 * after the other, because a drive has one head.
 *
 *	nbdkit drive.so file=IMAGE capacity_bytes=N overhead_ms=X ... [scale=X] [statistics=FILE]
 *
 * With "statistics", that file gets a line "requests modelled_ns waited_ns" when the server ends:
 * how long the requests should have taken, and how long they took.
 */

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

#define NANOSECONDS	1000000000LL
/* The mean distance of two random places, whose time data sheets call the average seek time. */
#define AVERAGE_STROKE	(1.0 / 3.0)

/* The attributes of optimizer.drives.models.Drive. */
struct drive {
	double capacity_bytes;
	double overhead_ms;
	double seek_track_ms;
	double seek_average_ms;
	double seek_full_ms;
	double first_rate_bytes_per_second;
	double last_rate_bytes_per_second;
	double rotation_per_minute;
	double readahead_bytes;
	double scale;
};

static struct drive drive = { .scale = 1.0 };
static char *file_name, *statistics_name;
static int image = -1;
static uint64_t end_of_last;
static long long requests, modelled_ns, waited_ns;

static const struct {
	const char *key;
	size_t offset;
} numbers[] = {
	{ "capacity_bytes", offsetof(struct drive, capacity_bytes) },
	{ "overhead_ms", offsetof(struct drive, overhead_ms) },
	{ "seek_track_ms", offsetof(struct drive, seek_track_ms) },
	{ "seek_average_ms", offsetof(struct drive, seek_average_ms) },
	{ "seek_full_ms", offsetof(struct drive, seek_full_ms) },
	{ "first_rate_bytes_per_second", offsetof(struct drive, first_rate_bytes_per_second) },
	{ "last_rate_bytes_per_second", offsetof(struct drive, last_rate_bytes_per_second) },
	{ "rotation_per_minute", offsetof(struct drive, rotation_per_minute) },
	{ "readahead_bytes", offsetof(struct drive, readahead_bytes) },
	{ "scale", offsetof(struct drive, scale) },
};

/* Time of one sequential read from offset 0 to an offset, in seconds. */
static double pass_seconds(double offset)
{
	double first = drive.first_rate_bytes_per_second, last = drive.last_rate_bytes_per_second;
	double rate = sqrt(first * first +
			   (last * last - first * first) * offset / drive.capacity_bytes);

	return 2.0 * offset / (first + rate);
}

/* Time of a move over a fraction of the full stroke, in seconds. */
static double seek_seconds(double stroke)
{
	double near = drive.seek_track_ms + (drive.seek_average_ms - drive.seek_track_ms) *
		      sqrt(fmin(stroke / AVERAGE_STROKE, 1.0));
	double far = (drive.seek_full_ms - drive.seek_average_ms) *
		     fmax(stroke - AVERAGE_STROKE, 0.0) / (1.0 - AVERAGE_STROKE);

	return (near + far) / 1e3;
}

/* Time to get from the end of a read to the start of the next one, in seconds. */
static double positioning_seconds(uint64_t end, uint64_t offset)
{
	double through = pass_seconds(offset) - pass_seconds(end);
	double cost = seek_seconds(fabs(through) / pass_seconds(drive.capacity_bytes));

	if (offset == end)
		return 0.0;
	if (drive.rotation_per_minute > 0.0)
		cost += 30.0 / drive.rotation_per_minute;
	/* A short gap ahead is read through, if that is faster. */
	if (offset > end && (double)(offset - end) <= drive.readahead_bytes)
		cost = fmin(cost, through);
	return cost;
}

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NANOSECONDS + now.tv_nsec;
}

static void wait_until(long long moment)
{
	struct timespec until = { moment / NANOSECONDS, moment % NANOSECONDS };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static int drive_config(const char *key, const char *value)
{
	size_t i;

	if (!strcmp(key, "file")) {
		file_name = nbdkit_absolute_path(value);
		return file_name ? 0 : -1;
	}
	if (!strcmp(key, "statistics")) {
		statistics_name = nbdkit_absolute_path(value);
		return statistics_name ? 0 : -1;
	}
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char *end;
		double number;

		if (strcmp(key, numbers[i].key))
			continue;
		number = strtod(value, &end);
		if (end == value || *end || !(number >= 0.0) || !isfinite(number)) {
			nbdkit_error("%s=%s: not a number from 0 on", key, value);
			return -1;
		}
		*(double *)((char *)&drive + numbers[i].offset) = number;
		return 0;
	}
	nbdkit_error("unknown parameter %s", key);
	return -1;
}

static int drive_config_complete(void)
{
	struct stat status;

	if (!file_name) {
		nbdkit_error("file=IMAGE is missing");
		return -1;
	}
	if (drive.capacity_bytes <= 0.0 || drive.first_rate_bytes_per_second <= 0.0 ||
	    drive.last_rate_bytes_per_second <= 0.0) {
		nbdkit_error("capacity_bytes and both rates must be above 0");
		return -1;
	}
	image = open(file_name, O_RDONLY | O_CLOEXEC);
	if (image < 0 || fstat(image, &status)) {
		nbdkit_error("%s: %m", file_name);
		return -1;
	}
	if ((double)status.st_size > drive.capacity_bytes) {
		nbdkit_error("%s: larger than the drive", file_name);
		return -1;
	}
	return 0;
}

static void drive_unload(void)
{
	FILE *statistics = statistics_name ? fopen(statistics_name, "we") : NULL;

	if (statistics) {
		fprintf(statistics, "%lld %lld %lld\n", requests, modelled_ns, waited_ns);
		fclose(statistics);
	}
	if (image >= 0)
		close(image);
	free(file_name);
	free(statistics_name);
}

static void *drive_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t drive_get_size(void *handle)
{
	struct stat status;

	(void)handle;
	if (fstat(image, &status)) {
		nbdkit_error("%s: %m", file_name);
		return -1;
	}
	return status.st_size;
}

static int drive_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
	long long begin = now_ns(), cost;
	uint64_t done = 0;

	(void)handle;
	(void)flags;
	while (done < count) {
		ssize_t got = pread(image, (char *)buffer + done, count - done, offset + done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			nbdkit_error("%s: %s", file_name,
				     got ? strerror(errno) : "unexpected end of file");
			return -1;
		}
		done += got;
	}
	cost = llround(NANOSECONDS * drive.scale *
		       (drive.overhead_ms / 1e3 + positioning_seconds(end_of_last, offset) +
			pass_seconds(offset + count) - pass_seconds(offset)));
	end_of_last = offset + count;
	wait_until(begin + cost);
	requests++;
	modelled_ns += cost;
	waited_ns += now_ns() - begin;
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "drive",
	.description = "serves an image as slowly as a drive would",
	.unload = drive_unload,
	.config = drive_config,
	.config_complete = drive_config_complete,
	.open = drive_open,
	.get_size = drive_get_size,
	.pread = drive_pread,
};

NBDKIT_REGISTER_PLUGIN(plugin)
