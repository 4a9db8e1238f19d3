/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* files.h - small files of the kernel, and whole writes */
#ifndef BOOTPROF_FILES_H
#define BOOTPROF_FILES_H

#include <stddef.h>
#include <sys/types.h>

ssize_t read_line(int directory, const char *name, char *text, size_t size);
int write_whole(int file, const char *data, size_t size_bytes);

#endif
