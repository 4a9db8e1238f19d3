// SPDX-License-Identifier: GPL-2.0
/*
 * bootprof - record which files a boot opens, executes and maps, in order
 *
 * The module only watches: ftrace calls it at the entry of three kernel functions, where the
 * struct file of an access that has succeeded is at hand. Nothing is redirected and nothing
 * sleeps in a hook, so the module can be unloaded at any time.
 *
 *   fd_install()          called by do_sys_openat2() with the file that open(2), openat(2),
 *                         openat2(2), creat(2) and their 32-bit twins return. Told apart from
 *                         dup(2), pipe(2) and the like by the caller's address.
 *   security_bprm_check() called with each file of an execve(2): the script, then its interpreter.
 *                         Kept back until setup_new_exec(), past which the call cannot fail.
 *   security_mmap_file()  called for each mapping, the ELF interpreter's among them, which the
 *                         kernel opens itself.
 *
 * A hook takes the path (d_path(), so links and directory handles are resolved), device, inode,
 * time and task, and puts them on a list of its CPU without a lock. Readers of debugfs gather the
 * lists under a mutex. Text is made when it is read.
 *
 * debugfs/bootprof/: bootlog.list (distinct paths), events (all of it), stats, control.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/binfmts.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/ftrace.h>
#include <linux/hashtable.h>
#include <linux/kprobes.h>
#include <linux/list_sort.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/stringhash.h>
#include <linux/timekeeping.h>
#include <linux/utsname.h>
#include <linux/version.h>

#define FILE_SYSTEM_NAME_SIZE	16
#define DELETED_SUFFIX		" (deleted)"
#define SEEN_BITS		14
#define HELD_BITS		6

static ulong max_bytes = 64UL << 20;
module_param(max_bytes, ulong, 0444);
MODULE_PARM_DESC(max_bytes, "memory for events in bytes; what does not fit is counted as dropped");

static char *initramfs_root = "/root";
module_param(initramfs_root, charp, 0444);
MODULE_PARM_DESC(initramfs_root, "where the initramfs mounts the root; cut from early paths");

static bool autostart = true;
module_param(autostart, bool, 0444);
MODULE_PARM_DESC(autostart, "record from the moment of loading");

enum operation { OPERATION_OPEN, OPERATION_EXEC, OPERATION_MAP };

static const char * const operation_names[] = { "open", "exec", "map" };

/**
 * struct event - one access to a file
 * @collected: entry on its CPU's list until it is gathered
 * @link: entry on @events in order of @sequence, or on a chain of @held
 * @seen: entry in @paths_seen, for the first event of a path
 * @sequence: place in the order of all events
 * @time: nanoseconds since boot
 * @inode: inode number
 * @size: bytes that this event takes
 * @device: device of the file system
 * @pid: process (thread group) identifier
 * @operation: what was done
 * @first: whether no event before has this path (files of the initramfs never count)
 * @task: the task that executes, while the event is held
 * @program: the execve(2) call that it belongs to, while the event is held
 * @command: name of the task
 * @file_system: type of the file system
 * @path: absolute path
 */
struct event {
	struct llist_node collected;
	struct list_head link;
	struct hlist_node seen;
	u64 sequence;
	u64 time;
	u64 inode;
	size_t size;
	dev_t device;
	pid_t pid;
	enum operation operation;
	bool first;
	const void *task;
	const void *program;
	char command[TASK_COMM_LEN];
	char file_system[FILE_SYSTEM_NAME_SIZE];
	char path[];
};

/* Text buffer for d_path(), one a CPU: hooks run with preemption off. */
static DEFINE_PER_CPU(char[PATH_MAX], path_buffer);
static DEFINE_PER_CPU(struct llist_head, fresh);
/* The last mapping on this CPU, so that the segments of one file make one event. */
static DEFINE_PER_CPU(const void *, last_map_inode);
static DEFINE_PER_CPU(const void *, last_map_mm);

static atomic64_t next_sequence = ATOMIC64_INIT(0);
static atomic_long_t used_bytes = ATOMIC_LONG_INIT(0);
static atomic_long_t dropped = ATOMIC_LONG_INIT(0);

/* Protects all below it: the gathered events and whether hooks are in place. */
static DEFINE_MUTEX(gathered_lock);
static LIST_HEAD(events);
static LIST_HEAD(later);
static DEFINE_HASHTABLE(paths_seen, SEEN_BITS);
static unsigned long event_count;
static bool running;

/* Events of execve(2) calls that may still fail, by task. */
static DEFINE_SPINLOCK(held_lock);
static struct list_head held[1 << HELD_BITS];

static struct dentry *folder;

/* Ranges of code whose calls of fd_install() are opens: see find_openers(). */
struct code_range {
	const char *name;
	unsigned long start;
	unsigned long size;
};

static struct code_range openers[] = {
	{ .name = "do_sys_openat2" },
	{ .name = "io_openat2" },
	{ .name = "do_handle_open" },
};

typedef unsigned long (*lookup_name_t)(const char *name);
typedef int (*lookup_size_t)(unsigned long address, unsigned long *size, unsigned long *offset);
static lookup_name_t lookup_name;

static bool is_initramfs(const struct super_block *super)
{
	return !strcmp(super->s_type->name, "rootfs");
}

/* Whether the root directory of the current task is still that of the initramfs. */
static bool rooted_in_initramfs(void)
{
	struct fs_struct *fs = current->fs;
	bool answer;

	if (!fs)
		return false;
	spin_lock(&fs->lock);
	answer = fs->root.dentry && is_initramfs(fs->root.dentry->d_sb);
	spin_unlock(&fs->lock);
	return answer;
}

/**
 * path_of() - absolute path of a file as it will be called after switch_root
 * @file: an open file
 * @buffer: PATH_MAX bytes
 *
 * Return: the path inside of @buffer, or NULL if it is too long.
 */
static char *path_of(struct file *file, char *buffer)
{
	size_t prefix = strlen(initramfs_root);
	char *path = d_path(&file->f_path, buffer, PATH_MAX);
	size_t length;

	if (IS_ERR(path))
		return NULL;
	length = strlen(path);
	if (d_unlinked(file->f_path.dentry) && length > strlen(DELETED_SUFFIX))
		path[length - strlen(DELETED_SUFFIX)] = '\0';
	if (prefix && !strncmp(path, initramfs_root, prefix) && path[prefix] == '/' &&
	    !is_initramfs(file_inode(file)->i_sb) && rooted_in_initramfs())
		path += prefix;
	return path;
}

/**
 * make_event() - describe an access by the current task
 * @file: the file
 * @operation: what is done with it
 *
 * Context: preemption is off.
 * Return: the event, not yet on any list, or NULL if it was dropped (and counted) or if @file is
 * not a regular file.
 */
static struct event *make_event(struct file *file, enum operation operation)
{
	struct inode *inode = file_inode(file);
	struct event *event;
	size_t size;
	char *path;

	if (!S_ISREG(inode->i_mode))
		return NULL;
	path = path_of(file, *this_cpu_ptr(&path_buffer));
	if (!path)
		goto drop;
	size = sizeof(*event) + strlen(path) + 1;
	if (atomic_long_add_return(size, &used_bytes) > max_bytes)
		goto give_back;
	event = kmalloc(size, GFP_NOWAIT | __GFP_NOWARN);
	if (!event)
		goto give_back;
	event->time = ktime_get_boottime_ns();
	event->inode = inode->i_ino;
	event->size = size;
	event->device = inode->i_sb->s_dev;
	event->pid = current->tgid;
	event->operation = operation;
	event->first = false;
	strscpy(event->command, current->comm, sizeof(event->command));
	strscpy(event->file_system, inode->i_sb->s_type->name, sizeof(event->file_system));
	strcpy(event->path, path);
	return event;

give_back:
	atomic_long_sub(size, &used_bytes);
drop:
	atomic_long_inc(&dropped);
	return NULL;
}

static void free_event(struct event *event)
{
	atomic_long_sub(event->size, &used_bytes);
	kfree(event);
}

/* Put an event into the log. Context: preemption is off. */
static void publish(struct event *event)
{
	event->sequence = atomic64_inc_return(&next_sequence);
	llist_add(&event->collected, this_cpu_ptr(&fresh));
}

static struct list_head *held_chain(const void *task)
{
	return &held[hash_ptr(task, HELD_BITS)];
}

/**
 * release_held() - let go of the events of the current task's execve(2)
 * @program: the call that is starting, whose events stay; NULL for all
 * @succeeded: publish them, or else free them
 */
static void release_held(const void *program, bool succeeded)
{
	struct event *event, *next;
	unsigned long flags;
	LIST_HEAD(released);

	spin_lock_irqsave(&held_lock, flags);
	list_for_each_entry_safe(event, next, held_chain(current), link)
		if (event->task == current && event->program != program)
			list_move_tail(&event->link, &released);
	spin_unlock_irqrestore(&held_lock, flags);
	list_for_each_entry_safe(event, next, &released, link) {
		if (succeeded)
			publish(event);
		else
			free_event(event);
	}
}

static void saw_fd_install(struct pt_regs *regs, unsigned long parent_ip)
{
	struct file *file = (struct file *)regs_get_kernel_argument(regs, 1);
	struct event *event;
	size_t i;

	/* A handle of a place (O_PATH), through which nothing can be read. */
	if (file->f_mode & FMODE_PATH)
		return;
	for (i = 0; i < ARRAY_SIZE(openers); i++)
		if (parent_ip - openers[i].start < openers[i].size)
			break;
	if (i == ARRAY_SIZE(openers))
		return;
	event = make_event(file, OPERATION_OPEN);
	if (event)
		publish(event);
}

static void saw_bprm_check(struct pt_regs *regs, unsigned long parent_ip)
{
	struct linux_binprm *program = (void *)regs_get_kernel_argument(regs, 0);
	struct event *event;
	unsigned long flags;

	/* An earlier execve(2) of this task that came to nothing. */
	release_held(program, false);
	event = make_event(program->file, OPERATION_EXEC);
	if (!event)
		return;
	event->task = current;
	event->program = program;
	spin_lock_irqsave(&held_lock, flags);
	list_add_tail(&event->link, held_chain(current));
	spin_unlock_irqrestore(&held_lock, flags);
}

static void saw_setup_new_exec(struct pt_regs *regs, unsigned long parent_ip)
{
	release_held(NULL, true);
}

static void saw_mmap_file(struct pt_regs *regs, unsigned long parent_ip)
{
	struct file *file = (struct file *)regs_get_kernel_argument(regs, 0);
	struct event *event;

	if (!file)
		return;
	if (this_cpu_read(last_map_inode) == file_inode(file) &&
	    this_cpu_read(last_map_mm) == current->mm)
		return;
	this_cpu_write(last_map_inode, file_inode(file));
	this_cpu_write(last_map_mm, current->mm);
	event = make_event(file, OPERATION_MAP);
	if (event)
		publish(event);
}

/**
 * struct hook - a kernel function whose entry is watched
 * @symbol: its name
 * @saw: what to do there
 * @ops: ftrace's view of it
 * @active: whether it is registered
 */
struct hook {
	const char *symbol;
	void (*saw)(struct pt_regs *regs, unsigned long parent_ip);
	struct ftrace_ops ops;
	bool active;
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
/* d19ad0775dcd ("ftrace: Have the callbacks receive a struct ftrace_regs instead of pt_regs") */
static void notrace hook_entry(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			       struct ftrace_regs *fregs)
{
	struct pt_regs *regs = ftrace_get_regs(fregs);
#else
#define FTRACE_OPS_FL_RECURSION 0
static void notrace hook_entry(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			       struct pt_regs *regs)
{
#endif
	struct hook *hook = container_of(ops, struct hook, ops);

	if (regs)
		hook->saw(regs, parent_ip);
}

#define HOOK(function, handler) {						\
	.symbol = function,							\
	.saw = handler,								\
	.ops = {								\
		.func = hook_entry,						\
		.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_RECURSION,	\
	},									\
}

static struct hook hooks[] = {
	HOOK("fd_install", saw_fd_install),
	HOOK("setup_new_exec", saw_setup_new_exec),
	HOOK("security_bprm_check", saw_bprm_check),
	HOOK("security_mmap_file", saw_mmap_file),
};

static void remove_hooks(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		if (!hooks[i].active)
			continue;
		/* Returns when no CPU is inside of the hook any more. */
		unregister_ftrace_function(&hooks[i].ops);
		ftrace_set_filter_ip(&hooks[i].ops, lookup_name(hooks[i].symbol), 1, 0);
		hooks[i].active = false;
	}
	running = false;
}

static int place_hooks(void)
{
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		unsigned long address = lookup_name(hooks[i].symbol);

		err = address ? ftrace_set_filter_ip(&hooks[i].ops, address, 0, 0) : -ENOENT;
		if (!err)
			err = register_ftrace_function(&hooks[i].ops);
		if (err) {
			pr_err("cannot watch %s(): %d\n", hooks[i].symbol, err);
			remove_hooks();
			return err;
		}
		hooks[i].active = true;
	}
	running = true;
	return 0;
}

static int compare_sequence(void *unused, const struct list_head *a, const struct list_head *b)
{
	const struct event *first = list_entry(a, struct event, link);
	const struct event *second = list_entry(b, struct event, link);

	return first->sequence < second->sequence ? -1 : 1;
}

static bool path_is_new(struct event *event)
{
	u32 key = full_name_hash(NULL, event->path, strlen(event->path));
	struct event *other;

	hash_for_each_possible(paths_seen, other, seen, key)
		if (!strcmp(other->path, event->path))
			return false;
	hash_add(paths_seen, &event->seen, key);
	return true;
}

/**
 * gather() - move what is on the lists of the CPUs to the list of all events, in order
 *
 * A hook takes its place in the order before its event is on a list, with preemption off all the
 * while. So once the hooks of this moment have run to their end, every event up to the present
 * number is there; later ones wait for their turn on @later.
 */
static void gather(void)
{
	struct event *event, *next;
	LIST_HEAD(sorted);
	u64 limit;
	int cpu;

	lockdep_assert_held(&gathered_lock);
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
		event->first = strcmp(event->file_system, "rootfs") && path_is_new(event);
		list_move_tail(&event->link, &events);
		event_count++;
	}
}

static void free_list(struct list_head *list)
{
	struct event *event, *next;

	list_for_each_entry_safe(event, next, list, link) {
		list_del(&event->link);
		free_event(event);
	}
}

/* Forget all events. */
static void clear(void)
{
	gather();
	hash_init(paths_seen);
	free_list(&events);
	event_count = 0;
	atomic_long_set(&dropped, 0);
}

static void *events_start(struct seq_file *file, loff_t *position)
{
	mutex_lock(&gathered_lock);
	if (*position == 0)
		gather();
	return seq_list_start_head(&events, *position);
}

static void *events_next(struct seq_file *file, void *entry, loff_t *position)
{
	return seq_list_next(entry, &events, position);
}

static void events_stop(struct seq_file *file, void *entry)
{
	mutex_unlock(&gathered_lock);
}

static int events_show(struct seq_file *file, void *entry)
{
	const struct event *event;

	if (entry == &events) {
		seq_puts(file, "#bootprof-bootlog 1\n#backend: kmod (ftrace)\n");
		seq_printf(file, "#kernel: %s\n", init_utsname()->release);
		seq_printf(file, "#lost: %ld\n", atomic_long_read(&dropped));
		return 0;
	}
	event = list_entry(entry, struct event, link);
	seq_printf(file, "%llu\t%d\t", event->time, event->pid);
	seq_escape(file, event->command, "\t\n\r\\");
	seq_printf(file, "\t%s\t0\t0\t%u:%u\t%llu\t", operation_names[event->operation],
		   MAJOR(event->device), MINOR(event->device), event->inode);
	seq_escape(file, event->file_system, "\t\n\r\\");
	seq_putc(file, '\t');
	seq_escape(file, event->path, "\t\n\r\\");
	seq_putc(file, '\n');
	return 0;
}

static const struct seq_operations events_sops = {
	.start = events_start, .next = events_next, .stop = events_stop, .show = events_show,
};
DEFINE_SEQ_ATTRIBUTE(events);

/* Plain list: a newline becomes \012, a backslash \134 where 012 or 134 follows it. */
static int bootlog_show(struct seq_file *file, void *entry)
{
	const struct event *event;
	const char *c;

	if (entry == &events)
		return 0;
	event = list_entry(entry, struct event, link);
	if (!event->first)
		return 0;
	for (c = event->path; *c; c++) {
		if (*c == '\n')
			seq_puts(file, "\\012");
		else if (*c == '\\' && (!strncmp(c + 1, "012", 3) || !strncmp(c + 1, "134", 3)))
			seq_puts(file, "\\134");
		else
			seq_putc(file, *c);
	}
	seq_putc(file, '\n');
	return 0;
}

static const struct seq_operations bootlog_sops = {
	.start = events_start, .next = events_next, .stop = events_stop, .show = bootlog_show,
};
DEFINE_SEQ_ATTRIBUTE(bootlog);

static int stats_show(struct seq_file *file, void *unused)
{
	size_t i;

	mutex_lock(&gathered_lock);
	gather();
	seq_printf(file, "mode ftrace\nrunning %d\nevents %lu\ndropped %ld\n", running,
		   event_count, atomic_long_read(&dropped));
	seq_printf(file, "bytes %ld\nmax_bytes %lu\nhooks", atomic_long_read(&used_bytes),
		   max_bytes);
	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		seq_printf(file, " %s", hooks[i].symbol);
	seq_putc(file, '\n');
	mutex_unlock(&gathered_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int control_show(struct seq_file *file, void *unused)
{
	mutex_lock(&gathered_lock);
	seq_puts(file, running ? "started\n" : "stopped\n");
	mutex_unlock(&gathered_lock);
	return 0;
}

static int control_open(struct inode *inode, struct file *file)
{
	return single_open(file, control_show, NULL);
}

static ssize_t control_write(struct file *file, const char __user *user, size_t length,
			     loff_t *position)
{
	char word[8];
	int err = 0;

	if (length >= sizeof(word))
		return -EINVAL;
	if (copy_from_user(word, user, length))
		return -EFAULT;
	word[length] = '\0';
	mutex_lock(&gathered_lock);
	if (sysfs_streq(word, "start"))
		err = running ? 0 : place_hooks();
	else if (sysfs_streq(word, "stop"))
		remove_hooks();
	else if (sysfs_streq(word, "clear"))
		clear();
	else
		err = -EINVAL;
	mutex_unlock(&gathered_lock);
	return err ? err : length;
}

static const struct file_operations control_operations = {
	.owner = THIS_MODULE,
	.open = control_open,
	.read = seq_read,
	.write = control_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/**
 * find_lookup_name() - get hold of kallsyms_lookup_name()
 *
 * Not exported since 5.7 (0bd476e6c671, "kallsyms: unexport kallsyms_lookup_name()"); a kprobe on
 * it tells its address.
 *
 * Return: 0 or a negative error.
 */
static int find_lookup_name(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int err = register_kprobe(&probe);

	if (err) {
		pr_err("no kprobe on kallsyms_lookup_name(): %d\n", err);
		return err;
	}
	lookup_name = (lookup_name_t)probe.addr;
	unregister_kprobe(&probe);
	return 0;
}

/* Find the code whose calls of fd_install() are opens; only the first must be there. */
static int find_openers(void)
{
	lookup_size_t lookup_size = (lookup_size_t)lookup_name("kallsyms_lookup_size_offset");
	unsigned long offset;
	size_t i;

	if (!lookup_size)
		return -ENOENT;
	for (i = 0; i < ARRAY_SIZE(openers); i++) {
		openers[i].start = lookup_name(openers[i].name);
		if (!openers[i].start ||
		    !lookup_size(openers[i].start, &openers[i].size, &offset))
			openers[i].size = 0;
	}
	return openers[0].size ? 0 : -ENOENT;
}

static int __init bootprof_init(void)
{
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(held); i++)
		INIT_LIST_HEAD(&held[i]);
	err = find_lookup_name();
	if (err)
		return err;
	err = find_openers();
	if (err) {
		pr_err("do_sys_openat2() not found\n");
		return err;
	}
	mutex_lock(&gathered_lock);
	if (autostart)
		err = place_hooks();
	mutex_unlock(&gathered_lock);
	if (err)
		return err;
	folder = debugfs_create_dir("bootprof", NULL);
	debugfs_create_file("bootlog.list", 0400, folder, NULL, &bootlog_fops);
	debugfs_create_file("events", 0400, folder, NULL, &events_fops);
	debugfs_create_file("stats", 0400, folder, NULL, &stats_fops);
	debugfs_create_file("control", 0600, folder, NULL, &control_operations);
	pr_info("mode ftrace, %lu bytes at most\n", max_bytes);
	return 0;
}

static void __exit bootprof_exit(void)
{
	size_t i;

	/* Waits for readers; later ones find nothing. */
	debugfs_remove_recursive(folder);
	mutex_lock(&gathered_lock);
	remove_hooks();
	clear();
	free_list(&later);
	mutex_unlock(&gathered_lock);
	for (i = 0; i < ARRAY_SIZE(held); i++)
		free_list(&held[i]);
}

module_init(bootprof_init);
module_exit(bootprof_exit);

MODULE_DESCRIPTION("Records the files that a boot opens, executes and maps");
MODULE_LICENSE("GPL");
