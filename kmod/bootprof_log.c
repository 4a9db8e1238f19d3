// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_log.c - events in order, within a bounded amount of memory
 *
 * Hooks make events with preemption off and put them on a list of their CPU without a lock.
 * Readers gather these lists, under a mutex, into one in the order of access. A path is taken from
 * the file that was opened and never from the string that a program passed, so that links,
 * relative paths and directory handles are resolved.
 */

#include "bootprof.h"

#include <linux/dcache.h>
#include <linux/fs_struct.h>
#include <linux/hashtable.h>
#include <linux/list_sort.h>
#include <linux/mount.h>
#include <linux/percpu.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/stringhash.h>
#include <linux/timekeeping.h>

#define DELETED_SUFFIX	" (deleted)"
/* What getcwd(2) puts before a path that does not start at the root. */
#define UNREACHABLE	"(unreachable)"
#define SEEN_BITS	14

/* Text buffer for d_path(), one a CPU: hooks run with preemption off. */
static DEFINE_PER_CPU(char[PATH_MAX], path_buffer);
/* Events that are not gathered yet. */
static DEFINE_PER_CPU(struct llist_head, fresh);

static atomic64_t next_sequence = ATOMIC64_INIT(0);
static atomic_long_t used_bytes = ATOMIC_LONG_INIT(0);
static atomic_long_t dropped = ATOMIC_LONG_INIT(0);

/* Protects the gathered events: all below, and @seen and @first of each event. */
DEFINE_MUTEX(bootprof_log_lock);
LIST_HEAD(bootprof_log_events);
unsigned long bootprof_log_event_count;
/* Changes when events are freed, so that readers do not go on from one that is gone. */
unsigned long bootprof_log_generation;
/* Numbered after the gathering began, so that one before them may still be missing. */
static LIST_HEAD(later);
static DEFINE_HASHTABLE(paths_seen, SEEN_BITS);

/* Set once by bootprof_log_init(). */
static unsigned long byte_limit;
static const char *new_root;

/**
 * bootprof_log_init() - set the limits
 * @max_bytes: memory for events in bytes
 * @initramfs_root: where the initramfs mounts the root
 */
void bootprof_log_init(unsigned long max_bytes, const char *initramfs_root)
{
	byte_limit = max_bytes;
	new_root = initramfs_root;
}

/* The initramfs is a tmpfs or a ramfs, but the type has a name of its own. */
static bool is_initramfs(const struct super_block *super)
{
	return !strcmp(super->s_type->name, "rootfs");
}

/*
 * The root directory of process 1, and whether it is that of the initramfs, as last seen. The
 * pointer is compared and never followed.
 */
static const struct dentry *real_root;
static bool in_initramfs;

/*
 * Look at the root directory of process 1 again. Its fs_struct stays while its lock is held; the
 * lock may be held already, and then what was seen last has to do.
 */
static void look_at_real_root(void)
{
	struct task_struct *first = init_pid_ns.child_reaper;

	if (!spin_trylock(&first->alloc_lock))
		return;
	if (first->fs) {
		const struct dentry *root = READ_ONCE(first->fs->root.dentry);

		WRITE_ONCE(in_initramfs, is_initramfs(root->d_sb));
		WRITE_ONCE(real_root, root);
	}
	spin_unlock(&first->alloc_lock);
}

static bool is_real_root(const struct dentry *dentry)
{
	if (dentry != READ_ONCE(real_root))
		look_at_real_root();
	return dentry == READ_ONCE(real_root);
}

/*
 * Whether a path from the root directory of the current task is one from the real root. A copy of
 * the real root in another mount name space is as good. So is, from the initramfs, a whole file
 * system: that is the root to come.
 */
static bool is_rooted(const struct path *root)
{
	return is_real_root(root->dentry) ||
	       (READ_ONCE(in_initramfs) && root->dentry == root->mnt->mnt_root);
}

/* Whether @text names no more than the way from the root of the mount to the file. */
static bool is_path_in_mount(const char *text, const struct path *path)
{
	const struct dentry *dentry = path->dentry;
	size_t length = 0;

	while (dentry != path->mnt->mnt_root && dentry != dentry->d_parent) {
		length += 1 + READ_ONCE(dentry->d_name.len);
		dentry = READ_ONCE(dentry->d_parent);
	}
	return length == strlen(text);
}

/*
 * Whether a file has no path from the real root that is known here: the current task is in a
 * chroot, or the file is on a mount that is attached nowhere, so that nothing comes before its
 * path in that mount.
 */
static bool is_unreachable(const char *text, const struct path *path, const struct path *root)
{
	return !is_rooted(root) ||
	       (path->mnt != root->mnt && is_path_in_mount(text, path) &&
		!is_real_root(path->mnt->mnt_root));
}

/**
 * bootprof_log_take_bytes() - account for memory before it is allocated
 * @size: bytes
 *
 * Return: whether there is room for it.
 */
bool bootprof_log_take_bytes(size_t size)
{
	if (atomic_long_add_return(size, &used_bytes) <= byte_limit)
		return true;
	atomic_long_sub(size, &used_bytes);
	return false;
}

void bootprof_log_give_bytes(size_t size)
{
	atomic_long_sub(size, &used_bytes);
}

long bootprof_log_used_bytes(void)
{
	return atomic_long_read(&used_bytes);
}

unsigned long bootprof_log_max_bytes(void)
{
	return byte_limit;
}

void bootprof_log_count_dropped(void)
{
	atomic_long_inc(&dropped);
}

long bootprof_log_dropped(void)
{
	return atomic_long_read(&dropped);
}

static bool ends_in_deleted(const char *path, size_t length)
{
	return length > strlen(DELETED_SUFFIX) &&
	       !strcmp(path + length - strlen(DELETED_SUFFIX), DELETED_SUFFIX);
}

/**
 * bootprof_log_path() - absolute path of a file as it will be called after switch_root
 * @path: the file as it was opened
 * @inode: its inode
 *
 * A file that has been deleted gets the name that it had. A path that does not start at the real
 * root is marked by "(unreachable)" before it.
 *
 * The root directory of the current task is read without the lock of fs_struct, which has had two
 * types: a spinlock_t beside a seqcount in Debian's 5.10, 6.1 and 6.12, one seqlock_t in 7.2.
 * Dentries, mounts and super blocks are freed by RCU, and preemption is off.
 *
 * Context: preemption is off.
 * Return: the path, valid until preemption is on again, or NULL if it is too long or if the task
 * has no root directory any more.
 */
char *bootprof_log_path(const struct path *path, const struct inode *inode)
{
	const struct fs_struct *fs = current->fs;
	char *buffer = *this_cpu_ptr(&path_buffer);
	size_t prefix = strlen(new_root);
	struct path root;
	size_t length;
	char *text;

	/* An exiting task gives it up early, and d_path() would follow the pointer. */
	if (!fs)
		return NULL;
	root.dentry = READ_ONCE(fs->root.dentry);
	root.mnt = READ_ONCE(fs->root.mnt);
	text = d_path(path, buffer, PATH_MAX);
	if (IS_ERR(text))
		return NULL;
	length = strlen(text);
	/* The suffix may be part of a name, and a file may be deleted since d_path() looked. */
	if (d_unlinked(path->dentry) && ends_in_deleted(text, length))
		text[length - strlen(DELETED_SUFFIX)] = '\0';
	if (prefix && !strncmp(text, new_root, prefix) && text[prefix] == '/' &&
	    !is_initramfs(inode->i_sb) && is_initramfs(root.dentry->d_sb))
		return text + prefix;
	if (is_unreachable(text, path, &root)) {
		if (text - buffer < strlen(UNREACHABLE))
			return NULL;
		text -= strlen(UNREACHABLE);
		memcpy(text, UNREACHABLE, strlen(UNREACHABLE));
	}
	return text;
}

/* Memory for an event with @text_size bytes for its path, filled in but for that; or NULL. */
static struct bootprof_event *allocate_event(const struct inode *inode,
					     enum bootprof_operation operation, size_t text_size)
{
	size_t size = sizeof(struct bootprof_event) + text_size;
	struct bootprof_event *event;

	if (!bootprof_log_take_bytes(size))
		return NULL;
	/* Hooks cannot sleep; running out of memory is what the counter is for. */
	event = kmalloc(size, GFP_NOWAIT | __GFP_NOWARN);
	if (!event) {
		bootprof_log_give_bytes(size);
		return NULL;
	}
	event->time = ktime_get_boottime_ns();
	event->inode = inode->i_ino;
	event->offset = 0;
	event->length = 0;
	event->size = size;
	event->device = inode->i_sb->s_dev;
	event->pid = current->tgid;
	event->operation = operation;
	event->first = false;
	event->task = NULL;
	strscpy(event->command, current->comm, sizeof(event->command));
	strscpy(event->file_system, inode->i_sb->s_type->name, sizeof(event->file_system));
	return event;
}

/* Whether a file has a place in a tree: not a memfd, shared memory or a namespace. */
static bool is_in_a_tree(const struct path *path, const struct inode *inode)
{
	const struct dentry_operations *operations = path->dentry->d_op;

	return S_ISREG(inode->i_mode) && !(operations && operations->d_dname);
}

/**
 * bootprof_log_make_event() - describe an access by the current task
 * @path: the file as it was opened
 * @inode: its inode
 * @operation: what is done with it
 *
 * Context: preemption is off.
 * Return: the event, not yet in the log, or NULL if it was dropped (and counted) or if it is not
 * of a regular file.
 */
struct bootprof_event *bootprof_log_make_event(const struct path *path,
					       const struct inode *inode,
					       enum bootprof_operation operation)
{
	struct bootprof_event *event;
	char *text;
	size_t size;

	if (!is_in_a_tree(path, inode))
		return NULL;
	text = bootprof_log_path(path, inode);
	if (!text)
		goto drop;
	size = strlen(text) + 1;
	event = allocate_event(inode, operation, size);
	if (!event)
		goto drop;
	memcpy(event->text, text, size);
	event->path = event->text;
	return event;

drop:
	bootprof_log_count_dropped();
	return NULL;
}

/**
 * bootprof_log_make_range_event() - describe an access to a part of a file
 * @inode: the file
 * @path: its path, which has to stay for as long as the event
 * @operation: what is done with it
 * @offset: where the part begins, in bytes
 * @length: its length in bytes
 *
 * Context: preemption is off.
 * Return: the event, not yet in the log, or NULL if it was dropped (and counted).
 */
struct bootprof_event *bootprof_log_make_range_event(const struct inode *inode, const char *path,
						     enum bootprof_operation operation,
						     u64 offset, u64 length)
{
	struct bootprof_event *event = allocate_event(inode, operation, 0);

	if (!event) {
		bootprof_log_count_dropped();
		return NULL;
	}
	event->path = path;
	event->offset = offset;
	event->length = length;
	return event;
}

void bootprof_log_free_event(struct bootprof_event *event)
{
	bootprof_log_give_bytes(event->size);
	kfree(event);
}

/**
 * bootprof_log_publish() - put an event into the log, which owns it from then on
 * @event: the event
 *
 * Context: preemption is off.
 */
void bootprof_log_publish(struct bootprof_event *event)
{
	event->sequence = atomic64_inc_return(&next_sequence);
	llist_add(&event->collected, this_cpu_ptr(&fresh));
}

/**
 * bootprof_log_opened() - log an open that has succeeded
 * @file: the file
 *
 * Not logged is what cannot be read through the descriptor (O_PATH) and what has no name
 * (O_TMPFILE).
 *
 * Context: preemption is off.
 */
void bootprof_log_opened(struct file *file)
{
	struct bootprof_event *event;

	if ((file->f_mode & FMODE_PATH) || (file->f_flags & __O_TMPFILE))
		return;
	event = bootprof_log_make_event(&file->f_path, file_inode(file), BOOTPROF_OPEN);
	if (event)
		bootprof_log_publish(event);
}

static int compare_sequence(void *unused, const struct list_head *a, const struct list_head *b)
{
	const struct bootprof_event *first = list_entry(a, struct bootprof_event, link);
	const struct bootprof_event *second = list_entry(b, struct bootprof_event, link);

	return first->sequence > second->sequence ? 1 : -1;
}

/* Whether no event before has this path; remembers it. */
static bool path_is_new(struct bootprof_event *event)
{
	u32 key = full_name_hash(NULL, event->path, strlen(event->path));
	struct bootprof_event *other;

	hash_for_each_possible(paths_seen, other, seen, key)
		if (!strcmp(other->path, event->path))
			return false;
	hash_add(paths_seen, &event->seen, key);
	return true;
}

/**
 * bootprof_log_gather() - move what is on the lists of the CPUs to the list of all events, in order
 *
 * A hook takes its place in the order before its event is on a list, with preemption off all the
 * while. So once the hooks of this moment have run to their end, every event up to the present
 * number is there; later ones wait for their turn on @later.
 *
 * Context: process; bootprof_log_lock is held.
 */
void bootprof_log_gather(void)
{
	struct bootprof_event *event, *next;
	LIST_HEAD(sorted);
	u64 limit;
	int cpu;

	lockdep_assert_held(&bootprof_log_lock);
	limit = atomic64_read(&next_sequence);
	synchronize_rcu();
	list_splice_init(&later, &sorted);
	for_each_possible_cpu(cpu) {
		struct llist_node *nodes = llist_del_all(per_cpu_ptr(&fresh, cpu));

		llist_for_each_entry_safe(event, next, nodes, collected)
			list_add(&event->link, &sorted);
	}
	list_sort(NULL, &sorted, compare_sequence);
	list_for_each_entry_safe(event, next, &sorted, link) {
		if (event->sequence > limit) {
			list_move_tail(&event->link, &later);
			continue;
		}
		event->first = event->path[0] == '/' && strcmp(event->file_system, "rootfs") &&
			       path_is_new(event);
		list_move_tail(&event->link, &bootprof_log_events);
		bootprof_log_event_count++;
	}
}

static void free_list(struct list_head *list)
{
	struct bootprof_event *event, *next;

	list_for_each_entry_safe(event, next, list, link) {
		list_del(&event->link);
		bootprof_log_free_event(event);
	}
}

/**
 * bootprof_log_clear() - free all events that were published so far
 *
 * Context: process.
 */
void bootprof_log_clear(void)
{
	mutex_lock(&bootprof_log_lock);
	bootprof_log_gather();
	hash_init(paths_seen);
	free_list(&bootprof_log_events);
	bootprof_log_event_count = 0;
	bootprof_log_generation++;
	atomic_long_set(&dropped, 0);
	mutex_unlock(&bootprof_log_lock);
}
