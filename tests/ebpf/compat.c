// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* compat.c - opens and maps "old" and "new" by 32-bit system calls; needs no library */

static long call(long number, long a, long b, long c, long d, long e)
{
	long result;

	/* The sixth argument, ebp, is the compiler's: mmap2 gets what stands there. */
	__asm__ volatile("push %%ebp; xor %%ebp, %%ebp; int $0x80; pop %%ebp"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return result;
}

void _start(void)
{
	long file;

	/* open(2): 5; openat(2): 295, relative to AT_FDCWD; mmap2(2): 192; exit(2): 1 */
	call(5, (long)"old", 0, 0, 0, 0);
	file = call(295, -100, (long)"new", 0, 0, 0);
	call(192, 0, 8192, 1, 2, file);
	call(1, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}
