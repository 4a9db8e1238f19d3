// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * small.c - a program without library: program, interpreter of scripts, or ELF interpreter
 *
 * Opens the file that its first argument names, as the interpreter of a script does, if there is
 * one. Also built with -m32 and -DCOMPAT: opens known files by 32-bit system calls instead. Ends
 * with status 0 if all could be opened.
 */

#ifdef COMPAT
static long call(long number, long a, long b, long c, long d)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return result;
}

#define EXIT	1
#define READ	3
#else
static long call(long number, long a, long b, long c, long d)
{
	register long fourth __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall" : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
			 : "rcx", "r11", "memory");
	return result;
}

#define EXIT	60
#define OPEN	2
#define READ	0
#endif

static void take(long file)
{
	static char buffer[65536];

	if (file < 0)
		call(EXIT, 1, 0, 0, 0);
	while (call(READ, file, (long)buffer, sizeof(buffer), 0) > 0)
		;
}

__attribute__((used)) static void start(long *stack)
{
#ifdef COMPAT
	/* struct open_how of openat2(2), read-only. */
	static const unsigned long long how[3];

	(void)stack;
	/* open, 5; openat, 295, relative to AT_FDCWD; openat2, 437; creat, 8 */
	take(call(5, (long)"open", 0, 0, 0));
	take(call(295, -100, (long)"openat", 0, 0));
	take(call(437, -100, (long)"openat2", (long)how, sizeof(how)));
	if (call(8, (long)"creat", 0644, 0, 0) < 0)
		call(EXIT, 1, 0, 0, 0);
#else
	/* What the kernel leaves on the stack: argc, argv[0], argv[1], ... */
	if (stack[0] > 1)
		take(call(OPEN, stack[2], 0, 0, 0));
#endif
	call(EXIT, 0, 0, 0, 0);
	__builtin_unreachable();
}

#ifdef COMPAT
__asm__(".globl _start\n_start:\n\tpush %esp\n\tcall start\n");
#else
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
#endif
