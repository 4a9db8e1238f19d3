/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* named_types.h - the subset of the kernel's types that the BPF programs name */
#ifndef BOOTPROF_NAMED_TYPES_H
#define BOOTPROF_NAMED_TYPES_H

#include <bpf/btf.h>

int named_types_write(int file, const struct btf *kernel, const struct btf *programs);

#endif
