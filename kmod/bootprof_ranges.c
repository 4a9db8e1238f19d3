// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_ranges.c - which pages of which file were seen before
 *
 * A boot reads the same parts of the same files again and again; what counts for the medium is the
 * first time. Each file has a bitmap of the pages that were read or faulted in; an access makes
 * one event for each run of pages that are new in it.
 *
 * Pages past the end that a file had when it was first read are not tracked: they were written
 * since, and cannot come from the medium.
 */

#include "bootprof.h"

#include <linux/bitmap.h>
#include <linux/hash.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/version.h>

#define BUCKET_BITS	10
/* Of a larger file (from 256 MiB), one bit stands for several pages. */
#define BITS_LIMIT	BIT(16)

/**
 * struct ranged_file - pages of a file that were seen
 * @link: entry in its bucket
 * @device: device of the file system
 * @inode: inode number
 * @generation: tells a file from one that had the inode number before
 * @shift: binary logarithm of the bytes that a bit stands for
 * @bits: length of @seen
 * @size: bytes of memory that this takes
 * @path: path by which it was read first; follows @seen in memory
 * @seen: a bit is set if its pages were seen
 */
struct ranged_file {
	struct hlist_node link;
	dev_t device;
	u64 inode;
	u32 generation;
	unsigned int shift;
	unsigned long bits;
	size_t size;
	const char *path;
	unsigned long seen[];
};

/**
 * struct bucket - files of the same hash
 * @lock: taken in hooks, only for as long as it takes to set some bits
 * @files: &struct ranged_file
 */
struct bucket {
	/* Protects @files and the bitmaps of the files on it. */
	spinlock_t lock;
	struct hlist_head files;
};

static struct bucket buckets[1 << BUCKET_BITS] = {
	[0 ... (1 << BUCKET_BITS) - 1] = { .lock = __SPIN_LOCK_UNLOCKED(buckets.lock) },
};

static struct bucket *bucket_of(const struct inode *inode)
{
	return &buckets[hash_64(inode->i_ino ^ (u64)inode->i_sb->s_dev << 40, BUCKET_BITS)];
}

static struct ranged_file *find_file(struct bucket *bucket, const struct inode *inode)
{
	struct ranged_file *file;

	hlist_for_each_entry(file, &bucket->files, link)
		if (file->inode == inode->i_ino && file->device == inode->i_sb->s_dev &&
		    file->generation == inode->i_generation)
			return file;
	return NULL;
}

/* Make the record of a file of @file_size bytes, not yet in its bucket; NULL without memory. */
static struct ranged_file *make_file(const struct path *path, const struct inode *inode,
				     u64 file_size)
{
	unsigned int shift = PAGE_SHIFT;
	struct ranged_file *file;
	unsigned long bits;
	size_t bitmap_size, text_size, size;
	const char *text;

	text = bootprof_log_path(path, inode);
	if (!text)
		return NULL;
	while (file_size >> shift >= BITS_LIMIT)
		shift++;
	bits = (file_size >> shift) + 1;
	bitmap_size = BITS_TO_LONGS(bits) * sizeof(long);
	text_size = strlen(text) + 1;
	size = sizeof(*file) + bitmap_size + text_size;
	if (!bootprof_log_take_bytes(size))
		return NULL;
	file = kzalloc(size, GFP_NOWAIT | __GFP_NOWARN);
	if (!file) {
		bootprof_log_give_bytes(size);
		return NULL;
	}
	file->device = inode->i_sb->s_dev;
	file->inode = inode->i_ino;
	file->generation = inode->i_generation;
	file->shift = shift;
	file->bits = bits;
	file->size = size;
	file->path = memcpy((char *)file->seen + bitmap_size, text, text_size);
	return file;
}

static void free_file(struct ranged_file *file)
{
	bootprof_log_give_bytes(file->size);
	kfree(file);
}

/*
 * Log the runs of pages with bytes from @start to @end that were not seen before. The file has
 * @file_size bytes, which is more than @start and no less than @end; it is not asked for its size
 * again, because another program may cut it meanwhile.
 */
static void log_new_runs(struct ranged_file *file, const struct inode *inode,
			 enum bootprof_operation operation, u64 start, u64 end, u64 file_size)
{
	unsigned long stop = min_t(u64, ((end - 1) >> file->shift) + 1, file->bits);
	unsigned long bit = find_next_zero_bit(file->seen, stop, start >> file->shift);
	u64 last_page_end = min_t(u64, round_up(end, PAGE_SIZE), file_size);

	while (bit < stop) {
		unsigned long run_end = find_next_bit(file->seen, stop, bit);
		u64 offset = (u64)bit << file->shift;
		u64 length = min((u64)run_end << file->shift, last_page_end) - offset;
		struct bootprof_event *event;

		event = bootprof_log_make_range_event(inode, file->path, operation, offset, length);
		/* One that was dropped is not tried again, so that it is counted once. */
		bitmap_set(file->seen, bit, run_end - bit);
		if (event)
			bootprof_log_publish(event);
		bit = find_next_zero_bit(file->seen, stop, run_end);
	}
}

/* The path by which a program opened the file that a layered file system reads for it. */
static const struct path *user_path(struct file *file)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	/* def3ae83da02 ("fs: store real path instead of fake path in backing file f_path"), 6.7 */
	return file_user_path(file);
#else
	return &file->f_path;
#endif
}

/**
 * bootprof_ranges_saw() - log what is new in an access to a part of a file
 * @file: the file; under overlayfs, that of the layer
 * @operation: what is done with it
 * @offset: where the part begins, in bytes
 * @length: its length in bytes
 *
 * Files in memory have no medium and are passed over.
 *
 * Context: preemption is off.
 */
void bootprof_ranges_saw(struct file *file, enum bootprof_operation operation, u64 offset,
			 u64 length)
{
	const struct inode *inode = file_inode(file);
	struct ranged_file *ranged, *made = NULL;
	u64 size = i_size_read(inode);
	struct bucket *bucket;
	unsigned long flags;

	if (!S_ISREG(inode->i_mode) || offset >= size || !length ||
	    inode->i_sb->s_magic == TMPFS_MAGIC || inode->i_sb->s_magic == RAMFS_MAGIC)
		return;
	bucket = bucket_of(inode);
	spin_lock_irqsave(&bucket->lock, flags);
	ranged = find_file(bucket, inode);
	if (!ranged) {
		spin_unlock_irqrestore(&bucket->lock, flags);
		made = make_file(user_path(file), inode, size);
		if (!made) {
			bootprof_log_count_dropped();
			return;
		}
		spin_lock_irqsave(&bucket->lock, flags);
		/* Another CPU may have been faster. */
		ranged = find_file(bucket, inode);
		if (!ranged) {
			ranged = made;
			made = NULL;
			hlist_add_head(&ranged->link, &bucket->files);
		}
	}
	log_new_runs(ranged, inode, operation, offset, min(size, offset + length), size);
	spin_unlock_irqrestore(&bucket->lock, flags);
	if (made)
		free_file(made);
}

/**
 * bootprof_ranges_detach() - forget all files
 * @detached: gets the records, which events refer to until these are freed
 */
void bootprof_ranges_detach(struct hlist_head *detached)
{
	struct ranged_file *file;
	struct hlist_node *next;
	unsigned long flags;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(buckets); i++) {
		spin_lock_irqsave(&buckets[i].lock, flags);
		hlist_for_each_entry_safe(file, next, &buckets[i].files, link) {
			hlist_del(&file->link);
			hlist_add_head(&file->link, detached);
		}
		spin_unlock_irqrestore(&buckets[i].lock, flags);
	}
}

/**
 * bootprof_ranges_free() - free the records of files
 * @detached: from bootprof_ranges_detach()
 */
void bootprof_ranges_free(struct hlist_head *detached)
{
	struct ranged_file *file;
	struct hlist_node *next;

	hlist_for_each_entry_safe(file, next, detached, link)
		free_file(file);
}
