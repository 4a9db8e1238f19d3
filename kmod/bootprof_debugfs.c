// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_debugfs.c - the log as files
 *
 * debugfs/bootprof/bootlog.list  distinct paths, one a line, in the order of first access
 * debugfs/bootprof/events        all events with all of their fields; see docs/bootlog.md
 * debugfs/bootprof/stats         "key value" lines
 * debugfs/bootprof/control       "start", "stop" or "clear"; read: "started" or "stopped"
 */

#include "bootprof.h"

#include <linux/debugfs.h>
#include <linux/kdev_t.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>

static struct dentry *folder;

static const char * const operation_names[] = {
	[BOOTPROF_OPEN] = "open", [BOOTPROF_EXEC] = "exec", [BOOTPROF_MAP] = "map",
	[BOOTPROF_READ] = "read", [BOOTPROF_FAULT] = "fault",
};

/**
 * struct cursor - where a reader is, so that each read(2) does not walk the list from its head
 * @generation: of the log when it was there
 * @position: number of the entry
 * @entry: the entry
 */
struct cursor {
	unsigned long generation;
	loff_t position;
	struct list_head *entry;
};

/* Entry 0 is the head of the list, which stands for the header. */
static void *log_start(struct seq_file *file, loff_t *position)
{
	struct cursor *cursor = file->private;

	mutex_lock(&bootprof_log_lock);
	if (*position == 0)
		bootprof_log_gather();
	if (!cursor->entry || cursor->position != *position ||
	    cursor->generation != bootprof_log_generation) {
		cursor->entry = seq_list_start_head(&bootprof_log_events, *position);
		cursor->position = *position;
		cursor->generation = bootprof_log_generation;
	}
	return cursor->entry;
}

static void *log_next(struct seq_file *file, void *entry, loff_t *position)
{
	struct cursor *cursor = file->private;

	cursor->entry = seq_list_next(entry, &bootprof_log_events, position);
	cursor->position = *position;
	return cursor->entry;
}

static void log_stop(struct seq_file *file, void *entry)
{
	mutex_unlock(&bootprof_log_lock);
}

static int events_show(struct seq_file *file, void *entry)
{
	const struct bootprof_event *event;

	if (entry == &bootprof_log_events) {
		seq_printf(file, "#bootprof-bootlog 1\n#backend: kmod (%s)\n",
			   bootprof_control_mode());
		seq_printf(file, "#kernel: %s\n", init_utsname()->release);
		seq_printf(file, "#lost: %lu\n", bootprof_log_dropped() + bootprof_watch_missed());
		return 0;
	}
	event = list_entry(entry, struct bootprof_event, link);
	seq_printf(file, "%llu\t%d\t", event->time, event->pid);
	seq_escape(file, event->command, "\t\n\r\\");
	seq_printf(file, "\t%s\t%llu\t%llu\t%u:%u\t%llu\t", operation_names[event->operation],
		   event->offset, event->length, MAJOR(event->device), MINOR(event->device),
		   event->inode);
	seq_escape(file, event->file_system, "\t\n\r\\");
	seq_putc(file, '\t');
	seq_escape(file, event->path, "\t\n\r\\");
	seq_putc(file, '\n');
	return 0;
}

/* A newline becomes \012, and a backslash \134 where 012 or 134 follows it. */
static int list_show(struct seq_file *file, void *entry)
{
	const struct bootprof_event *event;
	const char *c;

	if (entry == &bootprof_log_events)
		return 0;
	event = list_entry(entry, struct bootprof_event, link);
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

static const struct seq_operations events_sequence = {
	.start = log_start, .next = log_next, .stop = log_stop, .show = events_show,
};

static const struct seq_operations list_sequence = {
	.start = log_start, .next = log_next, .stop = log_stop, .show = list_show,
};

static int events_open(struct inode *inode, struct file *file)
{
	return seq_open_private(file, &events_sequence, sizeof(struct cursor));
}

static int list_open(struct inode *inode, struct file *file)
{
	return seq_open_private(file, &list_sequence, sizeof(struct cursor));
}

static const struct file_operations events_fops = {
	.owner = THIS_MODULE,
	.open = events_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release_private,
};

static const struct file_operations list_fops = {
	.owner = THIS_MODULE,
	.open = list_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release_private,
};

static int stats_show(struct seq_file *file, void *unused)
{
	const char *name;
	size_t i;

	mutex_lock(&bootprof_control_lock);
	mutex_lock(&bootprof_log_lock);
	bootprof_log_gather();
	seq_printf(file, "mode %s\nrunning %d\nevents %lu\ndropped %lu\n",
		   bootprof_control_mode(), bootprof_control_running(), bootprof_log_event_count,
		   bootprof_log_dropped() + bootprof_watch_missed());
	mutex_unlock(&bootprof_log_lock);
	seq_printf(file, "bytes %ld\nmax_bytes %lu\nhooks", bootprof_log_used_bytes(),
		   bootprof_log_max_bytes());
	for (i = 0; (name = bootprof_watch_name(i)); i++)
		if (*name)
			seq_printf(file, " %s", name);
	seq_puts(file, bootprof_control_running() ? "\n" : " none\n");
	mutex_unlock(&bootprof_control_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int control_show(struct seq_file *file, void *unused)
{
	mutex_lock(&bootprof_control_lock);
	seq_puts(file, bootprof_control_running() ? "started\n" : "stopped\n");
	mutex_unlock(&bootprof_control_lock);
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
	mutex_lock(&bootprof_control_lock);
	if (sysfs_streq(word, "start"))
		err = bootprof_control_start();
	else if (sysfs_streq(word, "stop"))
		bootprof_control_stop();
	else if (sysfs_streq(word, "clear"))
		bootprof_control_clear();
	else
		err = -EINVAL;
	mutex_unlock(&bootprof_control_lock);
	return err ? err : length;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.read = seq_read,
	.write = control_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/**
 * bootprof_debugfs_start() - create the directory and its files
 *
 * Return: 0 or a negative error.
 */
int bootprof_debugfs_start(void)
{
	folder = debugfs_create_dir("bootprof", NULL);
	if (IS_ERR(folder)) {
		pr_err("cannot create the debugfs directory: error %ld\n", PTR_ERR(folder));
		return PTR_ERR(folder);
	}
	debugfs_create_file("bootlog.list", 0400, folder, NULL, &list_fops);
	debugfs_create_file("events", 0400, folder, NULL, &events_fops);
	debugfs_create_file("stats", 0400, folder, NULL, &stats_fops);
	debugfs_create_file("control", 0600, folder, NULL, &control_fops);
	return 0;
}

/**
 * bootprof_debugfs_stop() - remove the directory; waits for readers
 */
void bootprof_debugfs_stop(void)
{
	debugfs_remove_recursive(folder);
}
