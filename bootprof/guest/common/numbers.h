/* SPDX-License-Identifier: GPL-2.0-only */
/* SPDX-FileCopyrightText: The bootprof authors */
/* numbers.h - decimal numbers in options and lists */
#ifndef BOOTPROF_NUMBERS_H
#define BOOTPROF_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

/* Below 10^18, so that the sum of two fits any 64-bit type. */
#define NUMBER_DIGITS_MAX	18

/**
 * take_number() - read digits and the character after them
 * @text: where to read; set to what follows @end
 * @end: the character that must follow the digits
 * @value: the number
 *
 * Return: false, with @text unchanged, if there is anything else, or the number is too long.
 */
static inline bool take_number(const char **text, char end, uint64_t *value)
{
	const char *at = *text;

	*value = 0;
	for (; *at >= '0' && *at <= '9' && at - *text < NUMBER_DIGITS_MAX; at++)
		*value = *value * 10 + (uint64_t)(*at - '0');
	if (at == *text || *at != end)
		return false;
	*text = at + 1;
	return true;
}

/* Read a string that consists of one number. */
static inline bool is_number(const char *text, uint64_t *value)
{
	return take_number(&text, '\0', value);
}

#endif
