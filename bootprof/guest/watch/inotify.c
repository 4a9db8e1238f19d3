// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * inotify.c - records opens with a watch on each directory
 *
 * A watch belongs to an inode and stays when its mount is moved. The path of each event is composed
 * when it is read: the current mount point, and the path below it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "messages.h"
#include "watch.h"

#define EVENTS	(IN_OPEN | IN_CREATE | IN_MOVED_TO)

/* A watched inode: its mount, and its path below the root of that, "" or "/usr/bin". */
struct place {
	int mount;
	char *below;
};

static struct {
	int events;
	/* Indexed by the kernel's number for a watch. */
	struct place *places;
	size_t size;
	uint64_t unwatched, overflows;
	bool limit_told;
} state = { .events = -1 };

static void set_place(int number, int mount, const char *below, bool replace)
{
	size_t size = state.size ? state.size : 1024;
	struct place *place;

	while (size <= (size_t)number)
		size *= 2;
	if (size > state.size) {
		place = realloc(state.places, size * sizeof(*place));
		if (!place)
			fail(1, "", "memory: %s", strerror(errno));
		memset(place + state.size, 0, (size - state.size) * sizeof(*place));
		state.places = place;
		state.size = size;
	}
	place = &state.places[number];
	/* For a file system that is mounted twice, the first path is used. */
	if (place->below && !replace)
		return;
	free(place->below);
	place->mount = mount;
	place->below = strdup(below);
}

static void add_watch(const struct watch *watch, int file, int mount, const char *below,
		      bool replace)
{
	char limit[32], link[64];
	int number;

	/* The working directory is procfs: see start(). */
	snprintf(link, sizeof(link), "self/fd/%d", file);
	number = inotify_add_watch(state.events, link, EVENTS);
	if (number >= 0) {
		set_place(number, mount, below, replace);
		return;
	}
	state.unwatched++;
	if (errno != ENOSPC || state.limit_told)
		return;
	state.limit_told = true;
	read_line(watch->proc, "sys/fs/inotify/max_user_watches", limit, sizeof(limit));
	output_line("#watch-limit: %s\n", limit);
	warn("some directories are not watched: the limit of %s watches is reached; "
	     "raise fs.inotify.max_user_watches", limit);
}

/*
 * Watch a directory and everything below it on the same mount. @below is its path below the root of
 * the mount, in a buffer of PATH_MAX bytes. A directory of an existing tree is listed before it is
 * watched, so that the listing does not fill the queue; a @new directory is watched first, so that
 * files that are created in it meanwhile are not missed.
 */
static void walk(const struct watch *watch, int file, const struct mount_point *mount, char *below,
		 bool new)
{
	size_t length = strlen(below);
	int id = mount->id;
	struct dirent *entry;
	struct statx status;
	DIR *listing;

	if (statx(file, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) ||
	    (status.stx_mask & STATX_MNT_ID && (int)status.stx_mnt_id != id)) {
		close(file);
		return;
	}
	if (new)
		add_watch(watch, file, id, below, true);
	listing = fdopendir(file);
	if (!listing) {
		/* Not a directory: one of the PATHs of the command line. */
		add_watch(watch, file, id, below, true);
		close(file);
		return;
	}
	while ((entry = readdir(listing))) {
		int inner;

		if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
			continue;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (length + strlen(entry->d_name) + 2 > PATH_MAX) {
			state.unwatched++;
			continue;
		}
		inner = openat(file, entry->d_name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (inner < 0) {
			state.unwatched += errno == EMFILE || errno == ENFILE;
			continue;
		}
		sprintf(below + length, "/%s", entry->d_name);
		walk(watch, inner, mount, below, new);
		below[length] = '\0';
	}
	if (!new)
		add_watch(watch, file, id, below, false);
	closedir(listing);
}

static void forget_mount(int id)
{
	size_t number;

	for (number = 0; number < state.size; number++)
		if (state.places[number].below && state.places[number].mount == id)
			inotify_rm_watch(state.events, (int)number);
}

static void watch_mounts(struct watch *watch)
{
	char below[PATH_MAX];
	size_t i;

	for (i = 0; i < watch->mounts.count; i++) {
		struct mount_point *mount = &watch->mounts.list[i];
		int root;

		if (!mount_is_real(mount) || mount->watched == !mount->layer)
			continue;
		mount->watched = !mount->layer;
		if (mount->layer) {
			forget_mount(mount->id);
			continue;
		}
		root = mount_reach(mount, "", O_RDONLY | O_DIRECTORY);
		below[0] = '\0';
		if (root >= 0)
			walk(watch, root, mount, below, false);
	}
}

/* Watch a PATH of the command line. */
static void watch_path(struct watch *watch, const char *path)
{
	struct mount_point *mount = NULL;
	int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char below[PATH_MAX];
	struct statx status;

	if (file < 0 || statx(file, "", AT_EMPTY_PATH, STATX_MNT_ID, &status))
		fail(2, "", "%s: %s", path, strerror(errno));
	mount = mounts_find(&watch->mounts, (int)status.stx_mnt_id);
	if (!mount)
		fail(1, "use Linux 5.8 or newer", "%s: cannot find its mount", path);
	snprintf(below, sizeof(below), "%s", path + (mount->point[1] ? strlen(mount->point) : 0));
	if (!strcmp(below, "/"))
		below[0] = '\0';
	walk(watch, file, mount, below, false);
}

static void start(struct watch *watch)
{
	int i;

	state.events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (state.events < 0)
		fail(1, "raise fs.inotify.max_user_instances", "inotify: %s", strerror(errno));
	/* The only way to name a descriptor if /proc is not mounted. */
	if (fchdir(watch->proc))
		fail(1, "", "procfs: %s", strerror(errno));
	for (i = 0; i < watch->path_count; i++)
		watch_path(watch, watch->paths[i]);
	if (!watch->path_count)
		watch_mounts(watch);
}

/* Compose the current path of an event. Returns false if it is too long. */
static bool path_of(const struct mount_point *mount, const struct place *place, const char *name,
		    char *path, size_t size)
{
	const char *point = mount->point[1] ? mount->point : "";
	int length = snprintf(path, size, "%s%s%s%s", point, place->below, name[0] ? "/" : "",
			      name);

	return length > 0 && (size_t)length < size;
}

static void record(const struct watch *watch, const struct mount_point *mount,
		   const struct place *place, const char *name)
{
	struct access access = {
		.command = "",
		.operation = "open",
		.major = mount->major,
		.minor = mount->minor,
		.file_system = mount->type,
	};
	char path[PATH_MAX], outside[PATH_MAX + 4];
	struct stat status;

	if (!path_of(mount, place, name, path, sizeof(path))) {
		output_lost(1);
		return;
	}
	snprintf(outside, sizeof(outside), "%s%s", strcmp(mount->type, "rootfs") ? "/.." : "",
		 path);
	if (!lstat(outside, &status)) {
		if (!S_ISREG(status.st_mode))
			return;
		access.inode = status.st_ino;
	} else if (looks_nameless(path)) {
		return;
	}
	access.path = mounts_final_path(&watch->mounts, mount->type, path);
	output_access(&access);
}

/* A directory was created in, or moved to, a watched one. */
static void watch_new(const struct watch *watch, const struct mount_point *mount,
		      const struct place *place, const char *name)
{
	char below[PATH_MAX];
	int file;

	if ((size_t)snprintf(below, sizeof(below), "%s/%s", place->below, name) >= sizeof(below)) {
		state.unwatched++;
		return;
	}
	file = mount_reach(mount, below, O_RDONLY | O_DIRECTORY);
	if (file >= 0)
		walk(watch, file, mount, below, true);
}

static void take_one(const struct watch *watch, const struct inotify_event *event)
{
	const char *name = event->len ? event->name : "";
	const struct mount_point *mount;
	struct place *place;

	if (event->mask & IN_Q_OVERFLOW) {
		state.overflows++;
		output_lost(1);
		return;
	}
	if (event->wd < 0 || (size_t)event->wd >= state.size)
		return;
	place = &state.places[event->wd];
	if (event->mask & IN_IGNORED) {
		free(place->below);
		place->below = NULL;
		return;
	}
	mount = place->below ? mounts_find(&watch->mounts, place->mount) : NULL;
	if (!mount || mount->layer)
		return;
	if (event->mask & IN_ISDIR) {
		if (event->mask & (IN_CREATE | IN_MOVED_TO))
			watch_new(watch, mount, place, name);
	} else if (event->mask & IN_OPEN) {
		record(watch, mount, place, name);
	}
}

static void take(struct watch *watch)
{
	static char buffer[16384] __attribute__((aligned(8)));
	ssize_t length;

	for (;;) {
		ssize_t at = 0;

		if (mounts_refresh(&watch->mounts) && !watch->path_count)
			watch_mounts(watch);
		length = read(state.events, buffer, sizeof(buffer));
		if (length <= 0)
			return;
		while (at < length) {
			const struct inotify_event *event = (void *)(buffer + at);

			take_one(watch, event);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
}

static void end(struct watch *watch)
{
	take(watch);
	if (state.overflows)
		output_line("#overflows: %" PRIu64 " (more events than that are missing)\n",
			    state.overflows);
	if (state.unwatched)
		output_line("#unwatched: %" PRIu64 " directories\n", state.unwatched);
}

static int descriptors(const struct watch *watch, struct pollfd *list)
{
	list[0] = (struct pollfd){ .fd = state.events, .events = POLLIN };
	list[1] = (struct pollfd){ .fd = watch->mounts.file, .events = POLLPRI };
	return 2;
}

const struct recorder inotify_recorder = {
	.backend = "inotify",
	.start = start,
	.take = take,
	.end = end,
	.descriptors = descriptors,
	.writes_events = true,
};
