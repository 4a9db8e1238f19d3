// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * blocks.c - library that lets mksquashfs compress no block that it has compressed before
 *
 *	BOOTPROF_BLOCKS=STORE LD_PRELOAD=blocks.so mksquashfs ...
 *
 * It takes the place of the functions of libzstd and liblzma that mksquashfs compresses with. What
 * they return is kept in STORE, and returned again for the same block, version of the library and
 * settings: the image is the same to the byte. A kept block is used only if it decompresses to the
 * block at hand, so neither a collision of digests nor a damaged store can get into an image.
 *
 * STORE is a sequence of records, each a header and its data; what follows the last complete record
 * is cut off. It is written by one mksquashfs at a time. Whatever fails, the block is compressed.
 *
 * Sources: zstd.h (1.5), lzma/{base,block,filter,lzma12}.h (5.4), whose interfaces are stable, and
 * zstd_wrapper.c and xz_wrapper.c of squashfs-tools (4.5), which call these functions.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC		0x314b4c4254424f52ULL
#define MULTIPLIER	0x9e3779b97f4a7c15ULL
/* The largest block of a squashfs is 1 MiB. */
#define MOST_BYTES	(2u << 20)

/* What decides over the result of a compression, besides the block. */
struct settings {
	uint32_t library;
	uint32_t options;
	uint32_t capacity;
};

/*
 * The header of a record. The data behind it is the compressed block, or if the result was an error
 * (it does not fit), the block itself.
 */
struct record {
	uint64_t magic;
	uint64_t digest;
	int64_t result;
	uint32_t raw_bytes;
	uint32_t data_bytes;
	struct settings settings;
	uint32_t reserved;
};

/* A place of the table: a record, and where its data begins; 0 is an empty place. */
struct place {
	struct record record;
	off_t offset;
};

/* Decompress to exactly that many bytes; return whether that is what came of it. */
typedef bool unpack_t(const void *data, size_t data_bytes, void *raw, size_t raw_bytes);

static struct place *table;
static size_t places;
static int store = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

static uint64_t mix(uint64_t state, uint64_t word)
{
	state = (state ^ word) * MULTIPLIER;
	return state ^ (state >> 32);
}

static uint64_t digest_of(const void *data, size_t length)
{
	const unsigned char *bytes = data;
	uint64_t state = length, word;

	for (; length >= sizeof(word); bytes += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		state = mix(state, word);
	}
	word = 0;
	memcpy(&word, bytes, length);
	return mix(mix(state, word), MULTIPLIER);
}

static bool acceptable(const struct record *record)
{
	if (record->magic != MAGIC || !record->raw_bytes || record->raw_bytes > MOST_BYTES)
		return false;
	if (!record->data_bytes || record->data_bytes > MOST_BYTES)
		return false;
	if (record->result > 0)
		return record->data_bytes == record->result;
	return record->data_bytes == record->raw_bytes;
}

/* Double the table, or make it. */
static bool grow(void)
{
	size_t more = places ? 2 * places : 4096, i, at;
	struct place *larger = calloc(more, sizeof(*larger));

	if (!larger)
		return false;
	for (i = 0; i < places; i++) {
		if (!table[i].offset)
			continue;
		at = table[i].record.digest & (more - 1);
		while (larger[at].offset)
			at = (at + 1) & (more - 1);
		larger[at] = table[i];
	}
	free(table);
	table = larger;
	places = more;
	return true;
}

static void open_store(void)
{
	const char *name = getenv("BOOTPROF_BLOCKS");
	struct record record;
	off_t end = 0, next;
	struct stat status;
	size_t used = 0, at;

	if (!name)
		return;
	store = open(name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (store < 0)
		return;
	if (fstat(store, &status) || !S_ISREG(status.st_mode))
		goto unusable;
	while (pread(store, &record, sizeof(record), end) == sizeof(record)) {
		next = end + (off_t)sizeof(record) + record.data_bytes;
		if (!acceptable(&record) || next > status.st_size)
			break;
		if (2 * used >= places && !grow())
			goto unusable;
		at = record.digest & (places - 1);
		while (table[at].offset)
			at = (at + 1) & (places - 1);
		table[at].record = record;
		table[at].offset = end + (off_t)sizeof(record);
		used++;
		end = next;
	}
	if (end < status.st_size && ftruncate(store, end))
		goto unusable;
	return;
unusable:
	close(store);
	store = -1;
}

static bool read_data(const struct place *place, void *data)
{
	size_t bytes = place->record.data_bytes;

	return pread(store, data, bytes, place->offset) == (ssize_t)bytes;
}

/*
 * Find a block in the store.
 *
 * The compressed block goes to 'packed', if there is one; returns the place, or a null pointer.
 */
static const struct place *find(const struct record *wanted, const void *raw, void *packed,
				unpack_t *unpack)
{
	size_t at = wanted->digest & (places - 1), bytes = wanted->raw_bytes;
	const struct place *found = NULL;
	void *data, *unpacked;

	if (!places)
		return NULL;
	data = malloc(2 * (size_t)MOST_BYTES);
	if (!data)
		return NULL;
	unpacked = (char *)data + MOST_BYTES;
	for (; table[at].offset && !found; at = (at + 1) & (places - 1)) {
		const struct record *record = &table[at].record;

		if (record->digest != wanted->digest || record->raw_bytes != bytes ||
		    memcmp(&record->settings, &wanted->settings, sizeof(wanted->settings)) ||
		    record->result > wanted->settings.capacity || !read_data(&table[at], data))
			continue;
		if (record->result <= 0) {
			if (!memcmp(data, raw, bytes))
				found = &table[at];
		} else if (unpack(data, record->data_bytes, unpacked, bytes) &&
			   !memcmp(unpacked, raw, bytes)) {
			memcpy(packed, data, record->data_bytes);
			found = &table[at];
		}
	}
	free(data);
	return found;
}

static void keep(struct record *record, const void *raw, const void *packed, int64_t result)
{
	struct iovec parts[2];

	record->result = result;
	record->data_bytes = result > 0 ? (uint32_t)result : record->raw_bytes;
	if (!acceptable(record))
		return;
	parts[0].iov_base = record;
	parts[0].iov_len = sizeof(*record);
	parts[1].iov_base = (void *)(result > 0 ? packed : raw);
	parts[1].iov_len = record->data_bytes;
	pthread_mutex_lock(&writing);
	/* A record that is not complete would hide those behind it. */
	if (store >= 0 &&
	    writev(store, parts, 2) != (ssize_t)(sizeof(*record) + record->data_bytes)) {
		close(store);
		store = -1;
	}
	pthread_mutex_unlock(&writing);
}

/* Return whether a block can be in the store, and describe it. */
static bool describe(struct record *record, const void *raw, size_t raw_bytes,
		     struct settings settings)
{
	pthread_once(&once, open_store);
	if (store < 0 || !raw_bytes || raw_bytes > MOST_BYTES)
		return false;
	memset(record, 0, sizeof(*record));
	record->magic = MAGIC;
	record->digest = digest_of(raw, raw_bytes);
	record->raw_bytes = (uint32_t)raw_bytes;
	record->settings = settings;
	return true;
}

/* libzstd */

static bool unpack_zstd(const void *data, size_t data_bytes, void *raw, size_t raw_bytes)
{
	size_t (*unpack)(void *raw, size_t raw_bytes, const void *data, size_t data_bytes);

	*(void **)&unpack = dlsym(RTLD_DEFAULT, "ZSTD_decompress");
	return unpack && unpack(raw, raw_bytes, data, data_bytes) == raw_bytes;
}

/* An error is a small negative number as size_t (zstd_errors.h). */
size_t ZSTD_compressCCtx(void *context, void *packed, size_t capacity, const void *raw,
			 size_t raw_bytes, int level)
{
	size_t (*compress)(void *context, void *packed, size_t capacity, const void *raw,
			   size_t raw_bytes, int level);
	unsigned int (*version)(void);
	const struct place *found;
	struct settings settings;
	struct record record;
	bool known = false;
	size_t result;

	*(void **)&compress = dlsym(RTLD_NEXT, "ZSTD_compressCCtx");
	*(void **)&version = dlsym(RTLD_DEFAULT, "ZSTD_versionNumber");
	if (version) {
		settings.library = version();
		settings.options = (uint32_t)level;
		settings.capacity = (uint32_t)capacity;
		known = describe(&record, raw, raw_bytes, settings);
	}
	if (known) {
		found = find(&record, raw, packed, unpack_zstd);
		if (found)
			return (size_t)found->record.result;
	}
	result = compress(context, packed, capacity, raw, raw_bytes, level);
	if (known)
		keep(&record, raw, packed, (int64_t)result);
	return result;
}

/* liblzma */

struct lzma_filter {
	uint64_t id;
	void *options;
};

struct lzma_options {
	uint32_t dict_size;
	const uint8_t *preset_dict;
	uint32_t preset_dict_size;
	uint32_t numbers[3];	/* lc, lp, pb */
	int mode;
	uint32_t nice_len;
	int mf;
	uint32_t depth;
};

#define LZMA_FILTER_LZMA2	0x21ULL
#define LZMA_UNKNOWN		UINT64_MAX
#define LZMA_FILTERS_MAX	4

static bool unpack_xz(const void *data, size_t data_bytes, void *raw, size_t raw_bytes)
{
	int (*unpack)(uint64_t *limit, uint32_t flags, void *allocator, const void *data,
		      size_t *at, size_t data_bytes, void *raw, size_t *end, size_t raw_bytes);
	uint64_t limit = 256 << 20;
	size_t at = 0, end = 0;

	*(void **)&unpack = dlsym(RTLD_DEFAULT, "lzma_stream_buffer_decode");
	return unpack && !unpack(&limit, 0, NULL, data, &at, data_bytes, raw, &end, raw_bytes) &&
	       end == raw_bytes;
}

/* Return a digest of filters with their options, or 0 if they are not those of mksquashfs. */
static uint32_t digest_of_filters(const struct lzma_filter *filters, int check)
{
	uint64_t state = (uint64_t)check;
	int i;

	for (i = 0; i < LZMA_FILTERS_MAX && filters[i].id != LZMA_UNKNOWN; i++) {
		state = mix(state, filters[i].id);
		if (filters[i].id == LZMA_FILTER_LZMA2) {
			const struct lzma_options *options = filters[i].options;

			if (options->preset_dict)
				return 0;
			state = mix(state, options->dict_size);
			state = mix(state, digest_of(options->numbers, sizeof(options->numbers)));
			state = mix(state, (uint64_t)options->mode);
			state = mix(state, options->nice_len);
			state = mix(state, (uint64_t)options->mf);
			state = mix(state, options->depth);
		} else if (filters[i].options) {
			return 0;
		}
	}
	return (uint32_t)(state >> 32) | 1;
}

int lzma_stream_buffer_encode(const struct lzma_filter *filters, int check, void *allocator,
			      const void *raw, size_t raw_bytes, void *packed, size_t *end,
			      size_t capacity)
{
	int (*compress)(const struct lzma_filter *filters, int check, void *allocator,
			const void *raw, size_t raw_bytes, void *packed, size_t *end,
			size_t capacity);
	uint32_t (*version)(void);
	const struct place *found;
	struct settings settings;
	struct record record;
	bool known = false;
	int result;

	*(void **)&compress = dlsym(RTLD_NEXT, "lzma_stream_buffer_encode");
	*(void **)&version = dlsym(RTLD_DEFAULT, "lzma_version_number");
	settings.options = digest_of_filters(filters, check);
	if (version && settings.options && !*end) {
		settings.library = version();
		settings.capacity = (uint32_t)capacity;
		known = describe(&record, raw, raw_bytes, settings);
	}
	if (known) {
		found = find(&record, raw, packed, unpack_xz);
		if (found && found->record.result <= 0)
			return (int)-found->record.result;
		if (found) {
			*end = (size_t)found->record.result;
			return 0;
		}
	}
	result = compress(filters, check, allocator, raw, raw_bytes, packed, end, capacity);
	if (known)
		keep(&record, raw, packed, result ? -result : (int64_t)*end);
	return result;
}
