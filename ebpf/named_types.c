// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * named_types.c - the subset of the kernel's types that the BPF programs name
 *
 * For each type that a program reads a field of, libbpf searches all of the kernel's types (over
 * 100,000) for those of the same name, which takes most of the load time. So the kernel's types are
 * searched once, here, and libbpf gets the ones that it will search for, with everything that they
 * contain. What they point to does not matter to libbpf.
 *
 * Documentation/bpf/btf.rst; what is compared: "Field-based CO-RE relocations" in
 * Documentation/bpf/llvm_reloc.rst.
 */
#include "named_types.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

/* A power of two, and several times what the programs name. */
#define NAME_SLOTS 1024

/**
 * struct selection - types being copied from one description to another
 * @from: all types of the kernel
 * @to: those that were taken
 * @taken: for each number in @from, the number in @to, or 0
 * @left: stack of numbers in @from that were taken and whose contents were not yet
 * @left_count: its height
 */
struct selection {
	const struct btf *from;
	struct btf *to;
	uint32_t *taken;
	uint32_t *left;
	size_t left_count;
};

/* A name without the suffix that marks another form of the type: see core_fixes.bpf.h. */
struct name {
	const char *start;
	size_t length;
};

static struct name name_of(const struct btf *btf, const struct btf_type *type)
{
	const char *start = btf__name_by_offset(btf, type->name_off);
	const char *form = start ? strstr(start, "___") : NULL;

	if (!start)
		return (struct name){ "", 0 };
	return (struct name){ start, form ? (size_t)(form - start) : strlen(start) };
}

/* The slot with a name, or the free slot for it (FNV-1a, linear probing). */
static struct name *slot_of(struct name *slots, struct name name)
{
	uint32_t hash = 2166136261u;
	size_t i;

	for (i = 0; i < name.length; i++)
		hash = (hash ^ (unsigned char)name.start[i]) * 16777619u;
	for (i = hash % NAME_SLOTS; slots[i].start; i = (i + 1) % NAME_SLOTS)
		if (slots[i].length == name.length &&
		    !memcmp(slots[i].start, name.start, name.length))
			break;
	return &slots[i];
}

/* Whether libbpf looks for types of this kind by their names. */
static bool is_sought(const struct btf_type *type)
{
	return type->name_off && (btf_is_composite(type) || btf_is_any_enum(type) ||
				  btf_is_typedef(type));
}

static int collect_names(struct name *slots, const struct btf *programs)
{
	uint32_t count = btf__type_cnt(programs), id, used = 0;

	for (id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(programs, id);
		struct name name = name_of(programs, type);
		struct name *slot = slot_of(slots, name);

		if (!is_sought(type) || slot->start)
			continue;
		if (++used > NAME_SLOTS / 2)
			return -E2BIG;
		*slot = name;
	}
	return 0;
}

/* Take a type; return its new number, or a negative error number. */
static int take(struct selection *selection, uint32_t id)
{
	int taken;

	if (!id || selection->taken[id])
		return (int)selection->taken[id];
	taken = btf__add_type(selection->to, selection->from,
			      btf__type_by_id(selection->from, id));
	if (taken > 0) {
		selection->taken[id] = (uint32_t)taken;
		selection->left[selection->left_count++] = id;
	}
	return taken;
}

/* A taken type, for changing it. The pointer is valid until another type is added. */
static struct btf_type *taken_type(struct selection *selection, uint32_t id)
{
	/* libbpf returns const even for types that the caller has added. */
	return (struct btf_type *)btf__type_by_id(selection->to, selection->taken[id]);
}

/* Take everything that a taken type contains, and let it refer to the copies. */
static int take_contents(struct selection *selection, uint32_t id)
{
	struct btf_type *type = taken_type(selection, id);
	int taken, index_taken, i;

	switch (btf_kind(type)) {
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		for (i = 0; i < btf_vlen(type); i++) {
			taken = take(selection, btf_members(type)[i].type);
			if (taken < 0)
				return taken;
			type = taken_type(selection, id);
			btf_members(type)[i].type = (uint32_t)taken;
		}
		return 0;
	case BTF_KIND_ARRAY:
		index_taken = take(selection, btf_array(type)->index_type);
		if (index_taken < 0)
			return index_taken;
		taken = take(selection, btf_array(taken_type(selection, id))->type);
		if (taken < 0)
			return taken;
		type = taken_type(selection, id);
		btf_array(type)->type = (uint32_t)taken;
		btf_array(type)->index_type = (uint32_t)index_taken;
		return 0;
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_CONST:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_TYPE_TAG:
		taken = take(selection, type->type);
		if (taken < 0)
			return taken;
		taken_type(selection, id)->type = (uint32_t)taken;
		return 0;
	case BTF_KIND_PTR:
		type->type = 0;
		return 0;
	case BTF_KIND_FUNC_PROTO:
		/* No type that is searched for contains one. */
		return -ENOTSUP;
	default:
		return 0;
	}
}

static int select_types(struct selection *selection, struct name *slots)
{
	uint32_t count = btf__type_cnt(selection->from), id;
	int status;

	for (id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(selection->from, id);

		if (!is_sought(type) ||
		    !slot_of(slots, name_of(selection->from, type))->start)
			continue;
		status = take(selection, id);
		if (status < 0)
			return status;
	}
	while (selection->left_count) {
		status = take_contents(selection, selection->left[--selection->left_count]);
		if (status)
			return status;
	}
	return 0;
}

/**
 * named_types_write() - write the types that programs name as a separate description
 * @file: empty file, open for writing
 * @kernel: all types of the kernel
 * @programs: types of the BPF object
 *
 * Return: 0, or a negative error number; then the file is unusable.
 */
int named_types_write(int file, const struct btf *kernel, const struct btf *programs)
{
	struct name slots[NAME_SLOTS] = {};
	struct selection selection = { .from = kernel };
	int status = collect_names(slots, programs);
	const void *data;
	__u32 size_bytes;

	if (status)
		return status;
	selection.to = btf__new_empty();
	selection.taken = calloc(btf__type_cnt(kernel), sizeof(*selection.taken));
	selection.left = calloc(btf__type_cnt(kernel), sizeof(*selection.left));
	status = -ENOMEM;
	if (selection.to && selection.taken && selection.left)
		status = select_types(&selection, slots);
	if (!status) {
		data = btf__raw_data(selection.to, &size_bytes);
		status = data ? write_whole(file, data, size_bytes) : -ENOMEM;
	}
	free(selection.left);
	free(selection.taken);
	btf__free(selection.to);
	return status;
}
