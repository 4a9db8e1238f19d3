/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SPDX-FileCopyrightText: The bootprof authors */
/*
 * kernel_types.h - the part of the kernel's types that bootprof.bpf.c reads
 *
 * libbpf adjusts every access to the running kernel's offset of the field (BPF CO-RE), so only
 * names and types matter here, and neither order nor size. Written by hand, not generated from one
 * machine's BTF: the object is identical wherever it is built, even where there is no BTF. Other
 * forms that a type has or had: core_fixes.bpf.h.
 */
#ifndef BOOTPROF_KERNEL_TYPES_H
#define BOOTPROF_KERNEL_TYPES_H

typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef _Bool bool;
typedef int pid_t;

#define true 1
#define false 0
#define NULL ((void *)0)

/* linux/bpf.h, which includes user-space headers that a BPF target may lack. */
enum bpf_map_type {
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
};

#define BPF_F_CURRENT_CPU 0xffffffffULL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct qstr {
	union {
		struct {
			u32 hash;
			u32 len;
		};
		u64 hash_len;
	};
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct {
		struct hlist_node d_alias;
	} d_u;	/* until 7.0 */
};

struct file_system_type {
	const char *name;
};

struct super_block {
	u32 s_dev;
	unsigned long s_magic;
	struct file_system_type *s_type;
};

struct inode {
	unsigned short i_mode;
	struct super_block *i_sb;
	u64 i_ino;
	long long i_size;
	struct hlist_head i_dentry;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	unsigned int f_mode;
	unsigned int f_flags;
	struct inode *f_inode;
	struct path f_path;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct vm_area_struct {
	struct vm_area_struct *vm_next;	/* until 6.0 */
	struct file *vm_file;
};

struct mm_struct {
	struct vm_area_struct *mmap;	/* until 6.0 */
	struct file *exe_file;
};

struct thread_info {
	u32 status;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	pid_t tgid;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
};

struct linux_binprm {
	struct file *file;
	const char *filename;
	const char *interp;
};

struct address_space {
	struct inode *host;
	unsigned int gfp_mask;
};

/* The page cache consists of pages until 5.15 ... */
struct page {
	struct address_space *mapping;
	unsigned long index;
};

/* ... and of folios since 5.16. */
struct folio {
	unsigned long flags;
	struct address_space *mapping;
	unsigned long index;
	unsigned long _flags_1;
};

enum pageflags {
	PG_head = 1,
};

enum bpf_func_id {
	BPF_FUNC_ktime_get_boot_ns = 125,
};

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long bp;
	unsigned long cx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
};

#pragma clang attribute pop

#endif
