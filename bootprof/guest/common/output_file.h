/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* output_file.h - an output file that is complete or absent */
#ifndef BOOTPROF_OUTPUT_FILE_H
#define BOOTPROF_OUTPUT_FILE_H

/**
 * struct output_file - a file that is written under the name FILE.partial, then renamed
 * @file: descriptor to write to
 * @name: FILE
 * @partial: the other name, or NULL: for standard output and for what is no regular file
 * @folder: the working directory, which the names are relative to
 */
struct output_file {
	int file;
	const char *name;
	char *partial;
	int folder;
};

int output_file_open(struct output_file *output, const char *name);
int output_file_finish(struct output_file *output, int error);
void output_file_discard(struct output_file *output);

#endif
