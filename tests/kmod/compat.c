// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* compat.c - opens its own file through 32-bit system calls; needs no library, so no multilib */

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

void _start(void)
{
	/* open(2), 5; openat(2), 295 with AT_FDCWD; exit(2), 1 */
	call(5, (long)"/w/compat-open", 0, 0);
	call(295, -100, (long)"/w/compat-openat", 0);
	call(1, 0, 0, 0);
	__builtin_unreachable();
}
