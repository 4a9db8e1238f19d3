// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * mounts.c - the table of mounts, kept up to date
 *
 * A recorder that was started in the initramfs keeps the initramfs as its root directory. When the
 * real root is moved over it, the table shows that root at "/", but a path from our root directory
 * does not lead there. A path that starts with "/.." does: the parent of the root directory is the
 * root directory with everything that is mounted on it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bootlog_text.h"
#include "messages.h"
#include "watch.h"

/* File systems whose files are not part of an image, and whose folders may have no end. */
static const char * const not_real[] = {
	"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
	"devtmpfs", "efivarfs", "fuse.lxcfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc",
	"pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs",
};

void mounts_open(struct mounts *mounts, int proc, const char *initramfs_root)
{
	mounts->initramfs_root = initramfs_root;
	mounts->file = openat(proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (mounts->file < 0)
		fail(1, "mount procfs on /proc", "/proc/self/mountinfo: %s", strerror(errno));
	mounts->changed = true;
	mounts_refresh(mounts);
}

static char *read_table(int file)
{
	size_t used = 0, capacity = 1 << 14;
	char *text = malloc(capacity);

	lseek(file, 0, SEEK_SET);
	while (text) {
		ssize_t length = read(file, text + used, capacity - used - 1);
		char *larger;

		if (length <= 0)
			break;
		used += (size_t)length;
		if (capacity - used > 4096)
			continue;
		larger = realloc(text, capacity *= 2);
		if (!larger)
			break;
		text = larger;
	}
	if (!text)
		fail(1, "", "memory: %s", strerror(errno));
	text[used] = '\0';
	return text;
}

/* Undo the escapes of the table (\040 for a space), in place. */
static void decode(char *text)
{
	char *target = text;

	while (*text) {
		unsigned int octal;

		if (*text == '\\' && sscanf(text + 1, "%3o", &octal) == 1) {
			*target++ = (char)octal;
			text += 4;
		} else {
			*target++ = *text++;
		}
	}
	*target = '\0';
}

struct mount_point *mounts_find(const struct mounts *mounts, int id)
{
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (mounts->list[i].id == id)
			return &mounts->list[i];
	return NULL;
}

const struct mount_point *mounts_of_device(const struct mounts *mounts, unsigned int major,
					   unsigned int minor)
{
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (mounts->list[i].major == major && mounts->list[i].minor == minor)
			return &mounts->list[i];
	return NULL;
}

/* One line: "36 35 98:0 /root /point options optional... - type source options". */
static void parse_line(struct mounts *mounts, char *line)
{
	char *type, *source, *options, *point, *rest;
	struct mount_point *mount;
	unsigned int major, minor;
	int id, consumed = 0;

	if (sscanf(line, "%d %*d %u:%u %*s %n", &id, &major, &minor, &consumed) != 3 || !consumed)
		return;
	type = strstr(line, " - ");
	if (!type)
		return;
	*type = '\0';
	point = strtok_r(line + consumed, " ", &rest);
	type = strtok_r(type + 3, " ", &rest);
	source = strtok_r(NULL, " ", &rest);
	options = strtok_r(NULL, " ", &rest);
	if (!point || !type || !source || !options)
		return;
	decode(point);
	decode(options);
	mount = mounts_find(mounts, id);
	/* The kernel reuses numbers. */
	if (mount && (mount->major != major || mount->minor != minor)) {
		mount->layer = false;
		mount->watched = false;
	}
	if (!mount) {
		struct mount_point *larger =
			realloc(mounts->list, (mounts->count + 1) * sizeof(*larger));

		if (!larger)
			return;
		mounts->list = larger;
		mount = &mounts->list[mounts->count++];
		*mount = (struct mount_point){ .id = id };
	}
	free(mount->point);
	free(mount->type);
	free(mount->options);
	mount->point = strdup(point);
	mount->type = strdup(type);
	mount->options = strdup(options);
	mount->major = major;
	mount->minor = minor;
	mount->listed = mount->point && mount->type && mount->options;
}

static void mark_layer(struct mounts *mounts, const char *folder, size_t length, bool exactly)
{
	struct mount_point *best = NULL;
	size_t i, longest = 1;

	while (length && folder[length - 1] == '/')
		length--;
	for (i = 0; i < mounts->count; i++) {
		struct mount_point *mount = &mounts->list[i];
		size_t size = strlen(mount->point);

		/* The file system at "/" is more than a layer. */
		if (size <= longest || size > length || memcmp(mount->point, folder, size) ||
		    (size < length && (exactly || folder[size] != '/')))
			continue;
		longest = size;
		best = mount;
	}
	if (best && (exactly || !strcmp(best->type, "tmpfs")))
		best->layer = true;
}

/* Find the layers of an overlay, whose options have the paths of the time when it was mounted. */
static void find_layers(struct mounts *mounts, const struct mount_point *overlay)
{
	char *options = strdup(overlay->options);
	char *option, *rest;

	for (option = options ? strtok_r(options, ",", &rest) : NULL; option;
	     option = strtok_r(NULL, ",", &rest)) {
		char *folder, *next;

		if (!strncmp(option, "upperdir=", 9))
			mark_layer(mounts, option + 9, strlen(option + 9), false);
		/* "lowerdir=A:B", and since Linux 6.8 "lowerdir+=A". */
		folder = strncmp(option, "lowerdir", 8) ? NULL : strchr(option, '=');
		if (!folder)
			continue;
		for (folder = strtok_r(folder + 1, ":", &next); folder;
		     folder = strtok_r(NULL, ":", &next))
			mark_layer(mounts, folder, strlen(folder), true);
	}
	free(options);
}

/* Read the table if it has changed. Returns whether it had. */
bool mounts_refresh(struct mounts *mounts)
{
	struct pollfd state = { .fd = mounts->file, .events = POLLPRI };
	bool root_of_initramfs = false, other_root = false;
	char *text, *line, *rest;
	size_t i, kept = 0;

	if (poll(&state, 1, 0) < 1 && !mounts->changed)
		return false;
	mounts->changed = false;
	for (i = 0; i < mounts->count; i++)
		mounts->list[i].listed = false;
	text = read_table(mounts->file);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		parse_line(mounts, line);
	free(text);
	for (i = 0; i < mounts->count; i++) {
		struct mount_point *mount = &mounts->list[i];

		if (mount->listed) {
			mounts->list[kept++] = *mount;
			continue;
		}
		free(mount->point);
		free(mount->type);
		free(mount->options);
	}
	mounts->count = kept;
	for (i = 0; i < kept; i++) {
		const struct mount_point *mount = &mounts->list[i];

		if (!strcmp(mount->type, "overlay"))
			find_layers(mounts, mount);
		if (strcmp(mount->point, "/"))
			continue;
		if (!strcmp(mount->type, "rootfs"))
			root_of_initramfs = true;
		else
			other_root = true;
	}
	mounts->in_initramfs = root_of_initramfs && !other_root;
	return true;
}

bool mount_is_real(const struct mount_point *mount)
{
	size_t i;

	for (i = 0; i < sizeof(not_real) / sizeof(not_real[0]); i++)
		if (!strcmp(mount->type, not_real[i]))
			return false;
	return true;
}

/* Open a path below the root of a mount. Returns -1 if another mount hides it. */
int mount_reach(const struct mount_point *mount, const char *below, int flags)
{
	char path[PATH_MAX];
	struct statx status;
	int file;

	/* Paths from our root directory lead to the initramfs, whatever was moved over it. */
	if ((size_t)snprintf(path, sizeof(path), "%s%s%s",
			     strcmp(mount->type, "rootfs") ? "/.." : "", mount->point, below) >=
	    sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	file = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
	if (file < 0)
		return -1;
	if (statx(file, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) ||
	    (status.stx_mask & STATX_MNT_ID && (int)status.stx_mnt_id != mount->id)) {
		close(file);
		errno = ENOENT;
		return -1;
	}
	return file;
}

/*
 * The path that a file has in the booted system, whose root the initramfs has mounted on a folder.
 * Files of the initramfs itself keep their paths.
 */
const char *mounts_final_path(const struct mounts *mounts, const char *file_system,
			      const char *path)
{
	size_t length = strlen(path);

	if (mounts->in_initramfs && strcmp(file_system, "rootfs"))
		cut_initramfs_root(&path, &length, mounts->initramfs_root);
	return path;
}

/* Whether a path is one of the PATHs of the command line, or below one. */
bool watch_wants(const struct watch *watch, const char *path)
{
	int i;

	for (i = 0; i < watch->path_count; i++) {
		size_t length = strlen(watch->paths[i]);

		if (!strncmp(path, watch->paths[i], length) &&
		    (!path[length] || path[length] == '/' || length == 1))
			return true;
	}
	return !watch->path_count;
}

/**
 * looks_nameless() - whether a path ends as the kernel names a file that has no name
 * @path: without " (deleted)"
 *
 * The kernel names a file that was opened with O_TMPFILE by its inode number (d_tmpfile()). The
 * caller must check that no file has this name.
 */
bool looks_nameless(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *number = slash && slash[1] == '#' ? slash + 2 : "";

	return number[0] && !number[strspn(number, "0123456789")];
}
