// SPDX-License-Identifier: GPL-2.0
/*
 * live_medium_id.c - tells udev what a live medium holds, from its first 36 KiB
 *
 *	live_medium_id DEVICE [MEDIUM_SECTORS START_SECTOR]
 *
 * Prints ID_FS_TYPE and the other properties that udev's blkid would set, as KEY=VALUE lines, if
 * the device begins with ISO 9660 or squashfs, and exits with 1 if it does not: then blkid has to
 * look. What blkid does beyond this is to look for RAID members, ZFS and the second copy of a GUID
 * partition table at the device's end, and on a live medium each look is a jump over the whole of
 * it and back.
 *
 * For a partition, MEDIUM_SECTORS is the ID_LIVE_MEDIUM_SECTORS of its disk, and START_SECTOR where
 * it begins there. A partition that begins inside of the disk's ISO 9660 file system is a part of
 * the medium, whatever it holds; one behind it (persistence) is left to blkid.
 *
 * Formats: ECMA-119, 8.4 (primary) and 8.5 (supplementary volume descriptor); squashfs as in
 * the kernel's fs/squashfs/squashfs_fs.h. Labels and identifiers are made as libblkid makes them, so
 * that the links in /dev/disk do not change.
 */

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR_BYTES		512
#define ISO_SECTOR_BYTES	2048
#define ISO_DESCRIPTORS		32768
#define ISO_DESCRIPTORS_MAX	8
#define HEAD_BYTES		512

static uint32_t little_endian_32(const unsigned char *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Print a property twice: with unsafe characters replaced, and escaped as in names of links. */
static void print_text(const char *key, const char *text, size_t length)
{
	static const char safe[] = "#+-.:=@_";
	size_t i;

	while (length && text[length - 1] == ' ')
		length--;
	if (!length)
		return;
	printf("%s=", key);
	for (i = 0; i < length; i++)
		putchar(isalnum((unsigned char)text[i]) || strchr(safe, text[i]) ? text[i] : '_');
	printf("\n%s_ENC=", key);
	for (i = 0; i < length; i++) {
		if (isalnum((unsigned char)text[i]) || strchr(safe, text[i]))
			putchar(text[i]);
		else
			printf("\\x%02x", (unsigned char)text[i]);
	}
	putchar('\n');
}

/* The identifier of a volume is the moment of its last change: YYYY-MM-DD-HH-MM-SS-CC. */
static void print_iso_identifier(const char *descriptor)
{
	const char *created = descriptor + 813, *modified = descriptor + 830;
	const char *date = strncmp(modified, "0000000000000000", 16) && modified[0] ?
			   modified : created;
	char text[40];

	snprintf(text, sizeof(text), "%.4s-%.2s-%.2s-%.2s-%.2s-%.2s-%.2s", date, date + 4, date + 6,
		 date + 8, date + 10, date + 12, date + 14);
	if (date[0] && strncmp(date, "0000000000000000", 16))
		print_text("ID_FS_UUID", text, strlen(text));
}

/* A Joliet label is in UTF-16, big endian; one of ASCII characters can be more than the other. */
static bool joliet_label(const unsigned char *descriptor, char label[16])
{
	int i;

	if (descriptor[0] != 2 || descriptor[88] != '%' || descriptor[89] != '/' ||
	    !strchr("@CE", descriptor[90]))
		return false;
	for (i = 0; i < 16; i++) {
		if (descriptor[40 + 2 * i])
			return false;
		label[i] = descriptor[41 + 2 * i];
	}
	return true;
}

static bool print_iso(int device)
{
	unsigned char primary[ISO_SECTOR_BYTES], next[ISO_SECTOR_BYTES];
	char label[32], joliet[16];
	bool is_joliet = false;
	int i;

	if (pread(device, primary, sizeof(primary), ISO_DESCRIPTORS) != sizeof(primary) ||
	    memcmp(primary, "\1CD001\1", 7))
		return false;
	memcpy(label, primary + 40, sizeof(label));
	for (i = 1; i < ISO_DESCRIPTORS_MAX && !is_joliet; i++) {
		if (pread(device, next, sizeof(next), ISO_DESCRIPTORS + i * ISO_SECTOR_BYTES) !=
			    sizeof(next) || memcmp(next + 1, "CD001", 5) || next[0] == 255)
			break;
		is_joliet = joliet_label(next, joliet);
	}
	puts("ID_FS_TYPE=iso9660\nID_FS_USAGE=filesystem");
	if (is_joliet) {
		puts("ID_FS_VERSION=Joliet Extension");
		/* The same label, unless the 32 bytes of the primary one hold more of it. */
		if (strncasecmp(joliet, label, sizeof(joliet)))
			print_text("ID_FS_LABEL", joliet, sizeof(joliet));
		else
			print_text("ID_FS_LABEL", label, sizeof(label));
	} else {
		print_text("ID_FS_LABEL", label, sizeof(label));
	}
	print_iso_identifier((const char *)primary);
	printf("ID_LIVE_MEDIUM_SECTORS=%llu\n", (unsigned long long)
	       little_endian_32(primary + 80) * (ISO_SECTOR_BYTES / SECTOR_BYTES));
	return true;
}

static bool print_squashfs(const unsigned char *head)
{
	if (memcmp(head, "hsqs", 4))
		return false;
	printf("ID_FS_TYPE=squashfs\nID_FS_USAGE=filesystem\nID_FS_VERSION=%u.%u\n",
	       head[28] | head[29] << 8, head[30] | head[31] << 8);
	return true;
}

/* The identifier of a classic partition table. */
static void print_partition_table(const unsigned char *head)
{
	if (head[510] != 0x55 || head[511] != 0xaa)
		return;
	puts("ID_PART_TABLE_TYPE=dos");
	if (little_endian_32(head + 440))
		printf("ID_PART_TABLE_UUID=%08x\n", little_endian_32(head + 440));
}

int main(int argc, char **argv)
{
	unsigned char head[HEAD_BYTES];
	int device;

	if (argc != 2 && argc != 4) {
		fprintf(stderr, "usage: live_medium_id DEVICE [MEDIUM_SECTORS START_SECTOR]\n");
		return 2;
	}
	device = open(argv[1], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (device < 0 || pread(device, head, sizeof(head), 0) != sizeof(head))
		return 1;
	if (argc == 4) {
		if (strtoull(argv[3], NULL, 10) >= strtoull(argv[2], NULL, 10))
			return 1;
		/*
		 * It may be the file system itself. If it is another one, for firmware, it is of no
		 * use to the system, which would try to mount what has a type.
		 */
		if (!print_iso(device))
			print_squashfs(head);
		return 0;
	}
	if (print_iso(device)) {
		print_partition_table(head);
		return 0;
	}
	return print_squashfs(head) ? 0 : 1;
}
