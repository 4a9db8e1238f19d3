// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * live_medium_id.c - identifies a live medium for udev from its first 36 KiB
 *
 *	live_medium_id DEVICE [MEDIUM_SECTORS START_SECTOR]
 *
 * If the device starts with ISO 9660, squashfs or EROFS, it prints ID_FS_TYPE and the other
 * properties that blkid would set, as KEY=VALUE lines. Otherwise it exits with status 1, and blkid
 * has to probe. blkid also searches the end of the device for RAID members, ZFS and the second copy
 * of a GUID partition table, and on a live medium each of these is a seek across the whole medium
 * and back.
 *
 * For a partition, MEDIUM_SECTORS is the ID_LIVE_MEDIUM_SECTORS of its disk, and START_SECTOR its
 * first sector. A partition that starts inside the disk's ISO 9660 file system is part of the
 * medium, whatever it contains; if it is small, it is not read. One behind it (persistence) is left
 * to blkid.
 *
 * Formats: ECMA-119, 8.4 (primary) and 8.5 (supplementary volume descriptor); squashfs as in
 * the kernel's fs/squashfs/squashfs_fs.h; EROFS as in its fs/erofs/erofs_fs.h. Labels and
 * identifiers have the form that libblkid 2.38 gives them, so that the links in /dev/disk do not
 * change; media with unusual ones are left to blkid.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../common/numbers.h"

#define SECTOR_BYTES		512
#define ISO_SECTOR_BYTES	2048
#define ISO_DESCRIPTORS		32768
#define ISO_DESCRIPTORS_MAX	8
#define HEAD_BYTES		1152
#define EROFS_SUPERBLOCK	1024
/*
 * A partition that is smaller holds no live system. grub-mkrescue makes partitions of 150 and
 * 300 KiB of the gaps between others.
 */
#define SMALLEST_BYTES		(1 << 20)

static uint32_t little_endian_32(const unsigned char *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_upper(char byte)
{
	return byte >= 'A' && byte <= 'Z';
}

static char to_upper(char byte)
{
	return byte >= 'a' && byte <= 'z' ? (char)(byte - 'a' + 'A') : byte;
}

/*
 * The length of a label without the spaces at its end, or -1 if it is not simple. Simple labels
 * consist of characters that need no escape in the name of a link, and of single spaces between
 * them.
 */
static int simple_length(const char *text, int length)
{
	static const char safe[] = "#+-.:=@_";
	int i;

	while (length && text[length - 1] == ' ')
		length--;
	for (i = 0; i < length; i++) {
		char byte = text[i];

		if (byte == ' ' && i && text[i - 1] != ' ')
			continue;
		/* A NUL byte is not a member of the set, although strchr() finds it. */
		if (!byte || !(is_digit(byte) || is_upper(to_upper(byte)) || strchr(safe, byte)))
			return -1;
	}
	return length;
}

/* Print a simple text twice: with spaces replaced, and with spaces escaped as in names of links. */
static void print_text(const char *key, const char *text, int length)
{
	int i;

	if (!length)
		return;
	printf("%s=", key);
	for (i = 0; i < length; i++)
		putchar(text[i] == ' ' ? '_' : text[i]);
	printf("\n%s_ENC=", key);
	for (i = 0; i < length; i++) {
		if (text[i] == ' ')
			fputs("\\x20", stdout);
		else
			putchar(text[i]);
	}
	putchar('\n');
}

#define DATE_DIGITS	16
#define LABEL_BYTES	32
#define JOLIET_CHARACTERS 16

enum date { DATE_SET, DATE_UNSET, DATE_ODD };

/* Whether a date is 16 digits, or unset: 16 zeros and no offset to UTC. */
static enum date check_date(const char *date)
{
	static const char unset[DATE_DIGITS + 1] = "0000000000000000";
	int i;

	if (!memcmp(date, unset, sizeof(unset)))
		return DATE_UNSET;
	for (i = 0; i < DATE_DIGITS; i++)
		if (!is_digit(date[i]))
			return DATE_ODD;
	return DATE_SET;
}

/*
 * A volume is identified by the time of its last change, or of its creation:
 * YYYY-MM-DD-HH-MM-SS-CC. Returns false if that is no date; @text is empty if it is unset.
 */
static bool iso_identifier(const char *descriptor, char *text, size_t size)
{
	const char *date = descriptor + 830;

	text[0] = '\0';
	if (check_date(date) == DATE_UNSET)
		date = descriptor + 813;
	if (check_date(date) == DATE_ODD)
		return false;
	if (check_date(date) == DATE_SET)
		snprintf(text, size, "%.4s-%.2s-%.2s-%.2s-%.2s-%.2s-%.2s", date, date + 4, date + 6,
			 date + 8, date + 10, date + 12, date + 14);
	return true;
}

static bool is_joliet(const unsigned char *descriptor)
{
	return descriptor[0] == 2 && descriptor[88] == '%' && descriptor[89] == '/' &&
	       (descriptor[90] == '@' || descriptor[90] == 'C' || descriptor[90] == 'E');
}

/*
 * Replace a label by that of a Joliet descriptor, which is in UTF-16, big endian. If one is the
 * other without its case, its length, or characters that it cannot represent ('_'), libblkid
 * combines them. Returns false if the label is not of ASCII characters.
 */
static bool joliet_label(const unsigned char *descriptor, char label[LABEL_BYTES])
{
	char joliet[LABEL_BYTES], combined[LABEL_BYTES];
	bool same = true;
	int i;

	memset(joliet, ' ', sizeof(joliet));
	memcpy(combined, label, sizeof(combined));
	for (i = 0; i < JOLIET_CHARACTERS; i++) {
		if (descriptor[40 + 2 * i])
			return false;
		joliet[i] = (char)descriptor[41 + 2 * i];
		if (label[i] == '_' || (joliet[i] != '_' && is_upper(label[i])))
			combined[i] = joliet[i];
		same &= label[i] == '_' || joliet[i] == '_' ||
			to_upper(label[i]) == to_upper(joliet[i]);
	}
	memcpy(label, same ? combined : joliet, sizeof(combined));
	return simple_length(joliet, sizeof(joliet)) > 0;
}

enum result { PRINTED, OTHER_FORMAT, UNCLEAR };

/*
 * Print the properties of ISO 9660. UNCLEAR, and nothing printed, if libblkid has to say what an
 * unusual label or date means.
 */
static enum result print_iso(int device)
{
	unsigned char primary[ISO_SECTOR_BYTES], next[ISO_SECTOR_BYTES];
	char label[LABEL_BYTES], identifier[2 * DATE_DIGITS];
	bool has_joliet = false;
	int i;

	if (pread(device, primary, sizeof(primary), ISO_DESCRIPTORS) != sizeof(primary) ||
	    memcmp(primary, "\1CD001\1", 7))
		return OTHER_FORMAT;
	memcpy(label, primary + 40, sizeof(label));
	if (simple_length(label, sizeof(label)) < 0 ||
	    !iso_identifier((const char *)primary, identifier, sizeof(identifier)))
		return UNCLEAR;
	for (i = 1; i < ISO_DESCRIPTORS_MAX && !has_joliet; i++) {
		if (pread(device, next, sizeof(next), ISO_DESCRIPTORS + i * ISO_SECTOR_BYTES) !=
			    sizeof(next) || memcmp(next + 1, "CD001", 5) || next[0] == 255)
			break;
		has_joliet = is_joliet(next);
	}
	if (has_joliet && !joliet_label(next, label))
		return UNCLEAR;
	puts("ID_FS_TYPE=iso9660\nID_FS_USAGE=filesystem");
	if (has_joliet)
		puts("ID_FS_VERSION=Joliet\\x20Extension");
	print_text("ID_FS_LABEL", label, simple_length(label, sizeof(label)));
	print_text("ID_FS_UUID", identifier, (int)strlen(identifier));
	printf("ID_LIVE_MEDIUM_SECTORS=%llu\n", (unsigned long long)
	       little_endian_32(primary + 80) * (ISO_SECTOR_BYTES / SECTOR_BYTES));
	return PRINTED;
}

static void print_uuid(const unsigned char *uuid)
{
	int i;

	for (i = 0; i < 16; i++)
		printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static bool print_squashfs(const unsigned char *head)
{
	if (memcmp(head, "hsqs", 4))
		return false;
	printf("ID_FS_TYPE=squashfs\nID_FS_USAGE=filesystem\nID_FS_VERSION=%u.%u\n",
	       head[28] | head[29] << 8, head[30] | head[31] << 8);
	return true;
}

/* An EROFS with a label, or without an identifier, is left to blkid. */
static bool print_erofs(const unsigned char *head)
{
	const unsigned char *superblock = head + EROFS_SUPERBLOCK, *uuid = superblock + 48;
	bool empty = true;
	int i;

	for (i = 0; i < 16; i++)
		empty &= !uuid[i];
	if (memcmp(superblock, "\xe2\xe1\xf5\xe0", 4) || superblock[64] || empty)
		return false;
	fputs("ID_FS_TYPE=erofs\nID_FS_USAGE=filesystem\nID_FS_UUID=", stdout);
	print_uuid(uuid);
	fputs("\nID_FS_UUID_ENC=", stdout);
	print_uuid(uuid);
	putchar('\n');
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
	uint64_t medium = 0, start = 0;
	enum result iso;
	int device;

	if ((argc != 2 && argc != 4) ||
	    (argc == 4 && !(is_number(argv[2], &medium) && is_number(argv[3], &start)))) {
		fprintf(stderr, "usage: live_medium_id DEVICE [MEDIUM_SECTORS START_SECTOR]\n");
		return 2;
	}
	device = open(argv[1], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (device < 0)
		return 1;
	if (argc == 4) {
		if (start >= medium)
			return 1;
		/* A gap that is a partition lies at the far end of the medium, too. */
		if (lseek(device, 0, SEEK_END) < SMALLEST_BYTES)
			return 0;
	}
	if (pread(device, head, sizeof(head), 0) != sizeof(head))
		return 1;
	if (argc == 4) {
		/*
		 * Report the file system of the medium, and no other: the system need not mount the
		 * partition for the firmware, but would try to if it had a type.
		 */
		iso = print_iso(device);
		if (iso == OTHER_FORMAT && !print_squashfs(head))
			print_erofs(head);
		return iso == UNCLEAR ? 1 : 0;
	}
	iso = print_iso(device);
	if (iso == PRINTED)
		print_partition_table(head);
	else if (iso == UNCLEAR || !(print_squashfs(head) || print_erofs(head)))
		return 1;
	return 0;
}
