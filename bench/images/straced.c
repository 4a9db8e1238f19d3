// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * straced.c - the first process of an initrd: lets strace follow it, then becomes the image's /init
 *
 * strace lies in /bootprof-strace with its libraries and runs with that folder as its root. It
 * writes to the second serial port. Its name begins with "@", so systemd does not kill it when it
 * leaves the initrd.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define FOLDER "/bootprof-strace"

static void make_raw(const char *port)
{
	struct termios settings;
	int file = open(port, O_RDWR | O_NOCTTY);

	if (file >= 0 && !tcgetattr(file, &settings)) {
		cfmakeraw(&settings);
		cfsetspeed(&settings, B115200);
		settings.c_cflag |= CLOCAL;
		tcsetattr(file, TCSANOW, &settings);
	}
	/* The file stays open, so the settings are kept. */
}

static int is_traced(void)
{
	char line[256];
	FILE *status = fopen(FOLDER "/proc/1/status", "r");
	int pid = 0;

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "TracerPid: %d", &pid) == 1)
			break;
	if (status)
		fclose(status);
	return pid > 0;
}

int main(void)
{
	mkdir(FOLDER "/dev", 0755);
	mkdir(FOLDER "/proc", 0755);
	mount("devtmpfs", FOLDER "/dev", "devtmpfs", 0, NULL);
	mount("proc", FOLDER "/proc", "proc", 0, NULL);
	if (!fork()) {
		make_raw(FOLDER "/dev/ttyS1");
		setsid();
		if (chroot(FOLDER) || chdir("/"))
			return 1;
		execl("/strace", "@strace", "-f", "-p", "1", "-qqq", "-y", "-s", "0", "-e",
		      "trace=open,openat,openat2,execve,execveat", "-e", "status=successful", "-e",
		      "signal=none", "-o", "/dev/ttyS1", (char *)NULL);
		return 1;
	}
	for (int tenths = 0; tenths < 600 && !is_traced(); tenths++)
		usleep(100000);
	execl("/init", "/init", (char *)NULL);
	perror("/init");
	return 1;
}
