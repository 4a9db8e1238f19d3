/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* bootlog_text.h - the text of a bootlog in events format: docs/bootlog.md */
#ifndef BOOTPROF_BOOTLOG_TEXT_H
#define BOOTPROF_BOOTLOG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define BOOTLOG_MAGIC		"#bootprof-bootlog 1\n"
/* The lines that every log starts with; arguments: backend, release of the kernel. */
#define BOOTLOG_HEADER		BOOTLOG_MAGIC "#backend: %s\n#kernel: %s\n"
/* Argument: an unsigned long long. */
#define BOOTLOG_LOST		"#lost: %llu\n"
#define BOOTLOG_ESCAPE_BYTES	4

size_t bootlog_escape(char *target, const char *text, size_t length);
bool cut_initramfs_root(const char **path, size_t *length, const char *root);

#endif
