// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/* agent_driver.c - starts backends in a root as the agent does, and harvests them to stdout */
#include <fcntl.h>
#include <unistd.h>

#include "agent.h"

struct kernel_folders kernel = { -1, -1, -1, -1 };

int main(int argc, char **argv)
{
	if (argc != 3 || chroot(argv[1]) || chdir("/"))
		return 1;
	kernel.debugfs = open("/debugfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_backends(argv[2]);
	harvest(STDOUT_FILENO);
	return 0;
}
