/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* messages.h - messages of the guest programs on standard error, and their end */
#ifndef BOOTPROF_MESSAGES_H
#define BOOTPROF_MESSAGES_H

/* Every program defines its name, which starts each line. */
extern const char program_name[];

/* Hints may be empty. */
__attribute__((format(printf, 2, 3)))
void complain(const char *hint, const char *format, ...);
__attribute__((format(printf, 1, 2)))
void warn(const char *format, ...);
__attribute__((noreturn, format(printf, 3, 4)))
void fail(int status, const char *hint, const char *format, ...);
void at_failure(void (*undo)(void));

long parse_number(const char *option, const char *text, long smallest, long largest);
void report_ready(int descriptor);

#endif
