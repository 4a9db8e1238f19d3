// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * load_with_types.c - loads the program for the page cache as if the kernel had other types
 *
 *	load_with_types OBJECT TYPES OPERATIONS
 *
 * The host's verifier then checks the instructions that another kernel would get.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = argv[2]);
	struct bpf_object *object = argc == 4 ? bpf_object__open_file(argv[1], &options) : NULL;
	struct bpf_program *program;
	struct bpf_map *map;

	if (!object)
		return 2;
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program,
					  !strcmp(bpf_program__name(program), "saw_cache"));
	bpf_object__for_each_map(map, object) {
		const char *name = strrchr(bpf_map__name(map), '.');
		size_t size;
		unsigned int *values = (void *)bpf_map__initial_value(map, &size);

		/* "operations" is the second of the constants. */
		if (name && !strcmp(name, ".rodata"))
			values[1] = (unsigned int)atoi(argv[3]);
	}
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "ring"), 1 << 16);
	return bpf_object__load(object) ? 1 : 0;
}
