/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* bootlog.h - writes events as a bootlog in events format (docs/bootlog.md) */
#ifndef BOOTPROF_BOOTLOG_H
#define BOOTPROF_BOOTLOG_H

#include <stdio.h>

#include "event_store.h"

int write_bootlog(FILE *stream, const struct store *store, const char *initramfs_root);

#endif
