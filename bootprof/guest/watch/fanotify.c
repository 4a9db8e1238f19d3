// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * fanotify.c - records opens with marks on whole file systems
 *
 * Each event has a descriptor of the file, whose link in /proc is the path that it was opened by,
 * through whichever mount and hard link. Events with a directory's handle and a name would be
 * cheaper, but overlayfs refuses them, and a handle cannot be resolved once the mount of its file
 * system is hidden.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "files.h"
#include "messages.h"
#include "watch.h"

/* Few events at a time, so that paths are resolved before mounts change. */
#define BUFFER_BYTES	8192
#define NAMED_PROCESSES	4096
#define COMMAND_BYTES	32

static const char deleted_mark[] = " (deleted)";

static struct {
	int events;
	uint64_t overflows, unnamed;
	uint64_t mask;
} state = { .events = -1, .mask = FAN_OPEN | FAN_OPEN_EXEC };

/* Names of processes: the process may have ended when its event is read. */
static struct {
	int process;
	char command[COMMAND_BYTES];
} known[NAMED_PROCESSES];

static void mark_mount(struct mount_point *mount)
{
	unsigned int how = mount->layer ? FAN_MARK_REMOVE : FAN_MARK_ADD;
	int root;

	if (!mount_is_real(mount) || mount->watched == !mount->layer)
		return;
	mount->watched = !mount->layer;
	root = mount_reach(mount, "", O_PATH);
	if (root < 0)
		return;
	if (fanotify_mark(state.events, how | FAN_MARK_FILESYSTEM, state.mask, root, ".") &&
	    how == FAN_MARK_ADD && !strcmp(mount->point, "/"))
		warn("%s on %s: %s", mount->type, mount->point, strerror(errno));
	close(root);
}

static void mark_mounts(struct watch *watch)
{
	size_t i;

	for (i = 0; i < watch->mounts.count; i++)
		mark_mount(&watch->mounts.list[i]);
}

static void start(struct watch *watch)
{
	unsigned int flags = FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE |
			     FAN_UNLIMITED_MARKS;

	state.events = fanotify_init(flags, O_RDONLY | O_LARGEFILE | O_CLOEXEC | O_NONBLOCK);
	if (state.events < 0 && errno == EPERM)
		fail(1, "run it as root", "fanotify: not permitted");
	if (state.events < 0)
		fail(1, "use --backend inotify", "fanotify: %s",
		     errno == ENOSYS ? "this kernel does not have it" : strerror(errno));
	mark_mounts(watch);
}

static const char *command_of(const struct watch *watch, int process)
{
	char *command = known[process % NAMED_PROCESSES].command;
	char name[32], text[COMMAND_BYTES];

	snprintf(name, sizeof(name), "%d/comm", process);
	if (process && read_line(watch->proc, name, text, sizeof(text)) > 0) {
		known[process % NAMED_PROCESSES].process = process;
		memcpy(command, text, sizeof(text));
		return command;
	}
	return process && known[process % NAMED_PROCESSES].process == process ? command : "";
}

/* For mounts that are not in the table: of another namespace, or layers of an overlay. */
static const char *file_system_name(int file)
{
	static const struct {
		uint32_t magic;
		const char *name;
	} names[] = {
		{ 0x794c7630, "overlay" }, { 0x73717368, "squashfs" }, { 0x01021994, "tmpfs" },
		{ 0x0000ef53, "ext4" },	   { 0xe0f5e1e2, "erofs" },    { 0x9660, "iso9660" },
		{ 0x9123683e, "btrfs" },   { 0x58465342, "xfs" },      { 0x4d44, "vfat" },
	};
	struct statfs status;
	size_t i;

	if (!fstatfs(file, &status))
		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if ((uint32_t)status.f_type == names[i].magic)
				return names[i].name;
	return "unknown";
}

/* Remove the suffix of a deleted file's path, unless it is part of the name. */
static void strip_deleted(char *path, const struct statx *status)
{
	size_t length = strlen(path), mark = sizeof(deleted_mark) - 1;
	char outside[PATH_MAX + 4];
	struct stat named;

	if (length <= mark || strcmp(path + length - mark, deleted_mark))
		return;
	snprintf(outside, sizeof(outside), "/..%s", path);
	if (!status->stx_nlink || lstat(outside, &named) || named.st_ino != status->stx_ino)
		path[length - mark] = '\0';
}

static void record(struct watch *watch, const struct fanotify_event_metadata *event)
{
	struct access access = {
		.process = (unsigned int)event->pid,
		.operation = event->mask & FAN_OPEN_EXEC ? "exec" : "open",
	};
	const struct mount_point *mount = NULL;
	char link[32], path[PATH_MAX];
	struct statx status;
	ssize_t length;

	snprintf(link, sizeof(link), "self/fd/%d", event->fd);
	length = readlinkat(watch->proc, link, path, sizeof(path) - 1);
	if (length <= 0 || path[0] != '/' ||
	    statx(event->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &status)) {
		state.unnamed++;
		output_lost(1);
		return;
	}
	path[length] = '\0';
	strip_deleted(path, &status);
	if (!status.stx_nlink && looks_nameless(path))
		return;
	if (status.stx_mask & STATX_MNT_ID)
		mount = mounts_find(&watch->mounts, (int)status.stx_mnt_id);
	if (!mount)
		mount = mounts_of_device(&watch->mounts, status.stx_dev_major,
					 status.stx_dev_minor);
	access.major = mount ? mount->major : status.stx_dev_major;
	access.minor = mount ? mount->minor : status.stx_dev_minor;
	access.inode = status.stx_ino;
	access.file_system = mount ? mount->type : file_system_name(event->fd);
	access.path = mounts_final_path(&watch->mounts, access.file_system, path);
	if (!watch_wants(watch, access.path))
		return;
	access.command = command_of(watch, event->pid);
	output_access(&access);
}

static void take(struct watch *watch)
{
	static char buffer[BUFFER_BYTES] __attribute__((aligned(8)));
	const struct fanotify_event_metadata *event;
	ssize_t length;

	for (;;) {
		if (mounts_refresh(&watch->mounts))
			mark_mounts(watch);
		length = read(state.events, buffer, sizeof(buffer));
		if (length < 0 && errno != EAGAIN && errno != EINTR) {
			/* The kernel could not open the next file for this process. */
			state.unnamed++;
			output_lost(1);
			continue;
		}
		if (length <= 0)
			return;
		for (event = (void *)buffer; FAN_EVENT_OK(event, length);
		     event = FAN_EVENT_NEXT(event, length)) {
			if (event->mask & FAN_Q_OVERFLOW) {
				state.overflows++;
				output_lost(1);
			}
			if (event->fd < 0)
				continue;
			if (event->pid != getpid())
				record(watch, event);
			close(event->fd);
		}
	}
}

static void end(struct watch *watch)
{
	take(watch);
	if (state.overflows)
		output_line("#overflows: %" PRIu64 " (more events than that are missing)\n",
			    state.overflows);
	if (state.unnamed)
		output_line("#unnamed: %" PRIu64 "\n", state.unnamed);
}

static int descriptors(const struct watch *watch, struct pollfd *list)
{
	list[0] = (struct pollfd){ .fd = state.events, .events = POLLIN };
	list[1] = (struct pollfd){ .fd = watch->mounts.file, .events = POLLPRI };
	return 2;
}

const struct recorder fanotify_recorder = {
	.backend = "fanotify",
	.start = start,
	.take = take,
	.end = end,
	.descriptors = descriptors,
	.writes_events = true,
};
