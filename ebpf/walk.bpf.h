/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SPDX-FileCopyrightText: The bootprof authors */
/*
 * walk.bpf.h - the path of a file, from its directory entry up
 *
 * By the same rules as d_path(): the kernel does not allow bpf_d_path() at these tracepoints. The
 * components are written from the last to the first; the loader reverses them.
 */
#ifndef BOOTPROF_WALK_BPF_H
#define BOOTPROF_WALK_BPF_H

#include "event.bpf.h"

/* Crossed mounts count as steps. A path of 4095 bytes has at most 2047 components. */
#define WALK_STEPS		8
#define WALK_PARTS		64
/* Steps of walk_quickly(), after which walk() continues. */
#define QUICK_DEPTH_LIMIT	8

#define RAMFS_MAGIC		0x858458f6
#define TMPFS_MAGIC		0x01021994

struct entry {
	struct dentry *parent;
	struct qstr name;
};

/* In one read where the two stand side by side, as they do on all kernels up to 7.2. */
static __always_inline void read_entry(struct entry *entry, struct dentry *dentry)
{
	u32 offset = bpf_core_field_offset(struct dentry, d_parent);

	if (bpf_core_field_offset(struct dentry, d_name) == offset + sizeof(entry->parent)) {
		bpf_probe_read_kernel(entry, sizeof(*entry), (void *)dentry + offset);
	} else {
		entry->parent = BPF_CORE_READ(dentry, d_parent);
		bpf_core_read(&entry->name, sizeof(entry->name), &dentry->d_name);
	}
}

enum walk_failure {
	WALK_TOO_LONG = -1,	/* or too deep */
	WALK_NAMELESS = -2,
	WALK_UNFINISHED = -3,
};

/* Write a component of a path into the scratch area. */
static __always_inline bool add_component(struct scratch *scratch, u32 length,
					  const unsigned char *name)
{
	u32 used = scratch->used_bytes;

	if (length > BOOTPROF_NAME_LIMIT || used + length + 1 > BOOTPROF_PATH_LIMIT)
		return false;
	bpf_probe_read_kernel(&scratch->text[used & BOOTPROF_PATH_LIMIT],
			      length & BOOTPROF_NAME_LIMIT, name);
	used += length & BOOTPROF_NAME_LIMIT;
	scratch->text[used & BOOTPROF_PATH_LIMIT] = '\0';
	scratch->used_bytes = used + 1;
	return true;
}

/*
 * Take WALK_STEPS steps.
 *
 * A global function, because the verifier checks it once for each program, however often it is
 * called, and the verifier takes most of the load time. The number of used bytes is kept in the
 * scratch area, where the verifier does not track it; otherwise it would follow every possible
 * sequence of names and mounts.
 *
 * Return: bytes written in total, or one of enum walk_failure.
 */
__attribute__((noinline)) int walk_part(u32 key)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	struct dentry *dentry, *mnt_root = NULL;
	struct vfsmount *vfsmount;
	int i;

	if (!scratch)
		return WALK_TOO_LONG;
	dentry = (struct dentry *)scratch->dentry;
	vfsmount = (struct vfsmount *)scratch->mnt;
	if (vfsmount)
		mnt_root = BPF_CORE_READ(vfsmount, mnt_root);
	for (i = 0; i < WALK_STEPS; i++) {
		struct dentry *parent;
		struct entry entry;

		if ((u64)dentry == scratch->root_dentry && (u64)vfsmount == scratch->root_mnt)
			return scratch->used_bytes;
		if (dentry == mnt_root) {
			struct mount *mount = (void *)vfsmount -
					      bpf_core_field_offset(struct mount, mnt);
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount)
				return scratch->used_bytes;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			vfsmount = (void *)above + bpf_core_field_offset(struct mount, mnt);
			mnt_root = BPF_CORE_READ(vfsmount, mnt_root);
			continue;
		}
		read_entry(&entry, dentry);
		parent = entry.parent;
		/* The root of a file system; or a file that is in no directory, like a memfd. */
		if (parent == dentry)
			return vfsmount ? WALK_NAMELESS : scratch->used_bytes;
		if (!add_component(scratch, entry.name.hash_len >> 32, entry.name.name))
			return WALK_TOO_LONG;
		dentry = parent;
	}
	scratch->dentry = (u64)dentry;
	scratch->mnt = (u64)vfsmount;
	return WALK_UNFINISHED;
}

/*
 * Walk from the directory entry in the scratch area up to the root directory of the process, or to
 * the topmost mount, and add the components. Without a mount: to the root of the file system.
 *
 * Return: bytes written in total, or one of enum walk_failure.
 */
static __always_inline int walk(u32 key)
{
	int result = WALK_UNFINISHED;
	int i;

	for (i = 0; i < WALK_PARTS && result == WALK_UNFINISHED; i++)
		result = walk_part(key);
	return result;
}

static __always_inline bool is_file_system(struct file_system_type *type, const char *name)
{
	const char *type_name = BPF_CORE_READ(type, name);
	u64 begin = 0;

	bpf_probe_read_kernel(&begin, 7, type_name);
	return begin == *(const u64 *)name;
}

/* Whether a root directory is that of the initramfs, which has a file system type of its own. */
static __always_inline bool is_initramfs(struct vfsmount *mnt)
{
	static const char rootfs[8] __attribute__((aligned(8))) = "rootfs";
	struct super_block *super = BPF_CORE_READ(mnt, mnt_sb);
	u32 magic = BPF_CORE_READ(super, s_magic);

	if (magic != RAMFS_MAGIC && magic != TMPFS_MAGIC)
		return false;
	return is_file_system(BPF_CORE_READ(super, s_type), rootfs);
}

static __always_inline bool set_path(struct scratch *scratch, u32 key, struct path *path,
				     struct task_struct *task)
{
	struct path root = BPF_CORE_READ(task, fs, root);
	int length;

	scratch->used_bytes = 0;
	scratch->dentry = (u64)path->dentry;
	scratch->mnt = (u64)path->mnt;
	scratch->root_dentry = (u64)root.dentry;
	scratch->root_mnt = (u64)root.mnt;
	length = walk(key);
	if (length == WALK_NAMELESS)
		return false;
	if (length < 0 || length > BOOTPROF_PATH_LIMIT) {
		count_loss(BOOTPROF_LOST_PATH);
		return false;
	}
	scratch->event.path_bytes = length;
	if (is_initramfs(root.mnt))
		scratch->event.flags |= BOOTPROF_IN_INITRAMFS;
	return true;
}

/* The part of is_initramfs() that needs no helper call. */
static __always_inline bool may_be_initramfs(struct vfsmount *mnt)
{
	unsigned long magic = mnt->mnt_sb->s_magic;

	return magic == RAMFS_MAGIC || magic == TMPFS_MAGIC;
}

/*
 * Walk up to the root directory while no mount has to be crossed, with plain loads, which read as 0
 * where nothing is mapped. walk() does the rest: the verifier allows no plain load from a struct
 * vfsmount to the struct mount around it.
 *
 * Return: bytes written, or one of enum walk_failure.
 */
static __always_inline int walk_quickly(struct scratch *scratch, u32 key, struct file *file,
					struct fs_struct *fs)
{
	struct dentry *dentry = file->f_path.dentry, *root_dentry = fs->root.dentry;
	struct vfsmount *mnt = file->f_path.mnt, *root_mnt = fs->root.mnt;
	struct dentry *end = mnt == root_mnt ? root_dentry : mnt->mnt_root;
	int i;

	scratch->used_bytes = 0;
	for (i = 0; i < QUICK_DEPTH_LIMIT && dentry != end; i++) {
		struct dentry *parent = dentry->d_parent;

		if (parent == dentry)
			break;
		if (!add_component(scratch, dentry->d_name.len, dentry->d_name.name))
			return WALK_TOO_LONG;
		dentry = parent;
	}
	if (dentry == end && mnt == root_mnt)
		return scratch->used_bytes;
	scratch->dentry = (u64)dentry;
	scratch->mnt = (u64)mnt;
	scratch->root_dentry = (u64)root_dentry;
	scratch->root_mnt = (u64)root_mnt;
	return walk(key);
}

/* Any name of the file in its file system; the loader chooses between several. */
static __always_inline bool set_alias(struct scratch *scratch, u32 key, struct inode *inode)
{
	struct hlist_node *node = BPF_CORE_READ(inode, i_dentry.first);
	int length;

	if (!node)
		return true;
	scratch->used_bytes = 0;
	scratch->dentry = (u64)alias_entry(node);
	scratch->mnt = 0;
	scratch->root_dentry = 0;
	scratch->root_mnt = 1;
	length = walk(key);
	if (length < 0 || length > BOOTPROF_PATH_LIMIT) {
		count_loss(BOOTPROF_LOST_PATH);
		return false;
	}
	scratch->event.path_bytes = length;
	return true;
}

#endif
