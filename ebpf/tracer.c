// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * tracer.c - loads the BPF programs, drains their buffer
 *
 * What the kernel offers is read from its BTF; programs that it has no tracepoint or helper for are
 * not loaded. Everything needed from sysfs is read at the start: in an initramfs, sysfs is mounted
 * for that moment only.
 */
#define _GNU_SOURCE
#include "tracer.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bootprof.skel.h"
#include "kernel_support.h"
#include "named_types.h"

#define KERNEL_BTF	"/sys/kernel/btf/vmlinux"
#define OPEN_FILES	"/proc/self/fd"
#define WITHOUT_BPF	"use another backend that needs no BPF: kmod, fanotify or block"

struct tracer {
	struct bootprof_bpf *programs;
	struct ring_buffer *ring;
	struct perf_buffer *perf;
	struct store *store;
	int processors;
};

/* All types of the kernel, while libbpf may ask for them. */
static struct btf *kernel_types;

/* The first warning of libbpf, for the error message. */
static char complaint[256];
static bool verbose;

static int hear_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	va_list copy;

	va_copy(copy, arguments);
	/* The first warning states the cause; later ones state consequences. */
	if (level == LIBBPF_WARN && !complaint[0]) {
		vsnprintf(complaint, sizeof(complaint), format, copy);
		complaint[strcspn(complaint, "\n")] = '\0';
	}
	va_end(copy);
	return verbose ? vfprintf(stderr, format, arguments) : 0;
}

__attribute__((format(printf, 3, 4)))
static void explain(struct tracer_error *error, const char *hint, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error->message, sizeof(error->message), format, arguments);
	va_end(arguments);
	snprintf(error->hint, sizeof(error->hint), "%s", hint);
}

struct btf *__real_btf__load_vmlinux_btf(void);
struct btf *__wrap_btf__load_vmlinux_btf(void);

/*
 * libbpf also reads all types of the kernel, to find what to attach to. The linker redirects that
 * call here (--wrap, see the Makefile), so that these megabytes are parsed once. libbpf frees what
 * it gets.
 */
struct btf *__wrap_btf__load_vmlinux_btf(void)
{
	struct btf *types = kernel_types;

	kernel_types = NULL;
	return types ? types : __real_btf__load_vmlinux_btf();
}

static bool wants(const struct tracer_options *options, enum bootprof_operation operation)
{
	return options->operations >> operation & 1;
}

/*
 * Select the programs for the requested operations, or name what the kernel lacks. @quick: use the
 * fast variant in bootprof.bpf.c.
 */
static int choose_programs(struct tracer *tracer, const struct btf *btf, bool quick,
			   const struct tracer_options *options, struct tracer_error *error)
{
	bool opens = wants(options, BOOTPROF_OPEN), maps = wants(options, BOOTPROF_MAP);
	bool syscalls = (opens || maps) && !quick;
	bool execs = wants(options, BOOTPROF_EXEC);
	bool find_vma = kernel_has_helper(btf, "BPF_FUNC_find_vma");
	/* See saw_sys_exit_classic. */
	bool classic = kernel_has_helper(btf, "BPF_FUNC_task_pt_regs") && kernel_has_tracefs();
	struct {
		struct bpf_program *program;
		const char *tracepoint;
		bool wanted;
	} all[] = {
		{ tracer->programs->progs.saw_sys_exit, "sys_exit", syscalls && !classic },
		{ tracer->programs->progs.saw_sys_exit_classic, "sys_exit", syscalls && classic },
		{ tracer->programs->progs.saw_script, "sched_process_exec",
		  execs && classic && find_vma },
		{ tracer->programs->progs.saw_exec_classic, "sched_process_exec",
		  execs && classic && find_vma },
		{ tracer->programs->progs.saw_exec_find_vma, "sched_process_exec",
		  execs && !classic && find_vma },
		{ tracer->programs->progs.saw_exec_vma_list, "sched_process_exec",
		  execs && !find_vma },
		{ tracer->programs->progs.saw_cache, "mm_filemap_add_to_page_cache",
		  wants(options, BOOTPROF_CACHE) },
		{ tracer->programs->progs.saw_read, "mm_filemap_get_pages",
		  wants(options, BOOTPROF_READ) },
		{ tracer->programs->progs.saw_fault, "mm_filemap_fault",
		  wants(options, BOOTPROF_FAULT) },
		{ tracer->programs->progs.saw_map_pages, "mm_filemap_map_pages",
		  wants(options, BOOTPROF_FAULT) },
	};
	size_t i;

	bpf_program__set_autoload(tracer->programs->progs.saw_fd_install, quick && opens);
	bpf_program__set_autoload(tracer->programs->progs.saw_mmap, quick && maps);
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i].wanted && !kernel_has_tracepoint(btf, all[i].tracepoint)) {
			explain(error, "remove the operation from --operations",
				"this kernel has no tracepoint %s", all[i].tracepoint);
			return -ENOENT;
		}
		bpf_program__set_autoload(all[i].program, all[i].wanted);
	}
	return 0;
}

/* How the programs are attached, for the bootlog. */
static const char *attachment(const struct bootprof_bpf *programs)
{
	if (bpf_program__autoload(programs->progs.saw_fd_install) ||
	    bpf_program__autoload(programs->progs.saw_mmap))
		return "fentry";
	if (bpf_program__autoload(programs->progs.saw_sys_exit_classic) ||
	    bpf_program__autoload(programs->progs.saw_exec_classic))
		return "tracepoint";
	return "tp_btf";
}

/* Ring buffer and perf buffers need a size of a power of two of pages. */
static size_t power_of_two(size_t size_bytes)
{
	size_t power = 4096;

	while (power * 2 <= size_bytes)
		power *= 2;
	return power;
}

static int take_from_ring(void *context, void *data, size_t size_bytes)
{
	struct tracer *tracer = context;

	store_append(tracer->store, data, size_bytes);
	return 0;
}

static enum bpf_perf_event_ret take_from_perf(void *context, int processor,
					      struct perf_event_header *header)
{
	struct tracer *tracer = context;
	const struct {
		struct perf_event_header header;
		uint32_t size_bytes;
		char data[];
	} *sample = (const void *)header;

	(void)processor;
	/* PERF_RECORD_LOST is ignored: the programs count the events that do not fit. */
	if (header->type == PERF_RECORD_SAMPLE)
		store_append(tracer->store, sample->data, sample->size_bytes);
	return LIBBPF_PERF_EVENT_CONT;
}

static int open_buffer(struct tracer *tracer, const struct tracer_options *options)
{
	size_t each_bytes = power_of_two(options->buffer_bytes / (size_t)tracer->processors);
	struct perf_event_attr attributes = {
		.size = sizeof(attributes),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
		.watermark = 1,
		.wakeup_watermark = (uint32_t)(each_bytes / 2),
	};

	if (!options->perf_buffer) {
		tracer->ring = ring_buffer__new(bpf_map__fd(tracer->programs->maps.ring),
						take_from_ring, tracer, NULL);
		return tracer->ring ? 0 : -errno;
	}
	tracer->perf = perf_buffer__new_raw(bpf_map__fd(tracer->programs->maps.perf_buffer),
					    each_bytes / 4096, &attributes, take_from_perf, tracer,
					    NULL);
	return tracer->perf ? 0 : -errno;
}

/*
 * Open the BPF object. @types is an empty file for the few kernel types that the object names (see
 * named_types.c), which libbpf opens by name. Without it, libbpf searches all types.
 */
static struct bootprof_bpf *open_object(const struct btf *btf, int types)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct bootprof_bpf *programs;
	char path[64];

	snprintf(path, sizeof(path), OPEN_FILES "/%d", types);
	if (types < 0 || access(path, R_OK))
		return bootprof_bpf__open();
	options.btf_custom_path = path;
	programs = bootprof_bpf__open_opts(&options);
	if (!programs || !named_types_write(types, btf, bpf_object__btf(programs->obj)))
		return programs;
	bootprof_bpf__destroy(programs);
	return bootprof_bpf__open();
}

/* Load and attach the programs. @types: see open_object(). */
static int load_with(int types, struct tracer *tracer, const struct btf *btf, bool quick,
		     const struct tracer_options *options, struct tracer_error *error)
{
	struct bootprof_bpf *programs = open_object(btf, types);
	struct tracer_options chosen = *options;
	int status;

	complaint[0] = '\0';
	if (!programs) {
		status = -errno;
		explain(error, "", "BPF object: %s", strerror(errno));
		return status;
	}
	tracer->programs = programs;
	status = choose_programs(tracer, btf, quick, options, error);
	if (status)
		return status;
	if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL) != 1)
		chosen.perf_buffer = true;
	programs->rodata->own_process = (uint32_t)getpid();
	programs->rodata->operations = options->operations;
	programs->rodata->use_perf_buffer = chosen.perf_buffer;
	programs->rodata->wakeup_bytes = power_of_two(options->buffer_bytes) / 2;
	bpf_map__set_autocreate(programs->maps.ring, !chosen.perf_buffer);
	bpf_map__set_autocreate(programs->maps.perf_buffer, chosen.perf_buffer);
	bpf_map__set_max_entries(programs->maps.ring,
				 (uint32_t)power_of_two(options->buffer_bytes));
	status = bootprof_bpf__load(programs);
	if (status) {
		explain(error, WITHOUT_BPF, "the kernel refused the BPF programs: %s (%s)",
			strerror(-status), complaint);
		return status;
	}
	status = open_buffer(tracer, &chosen);
	if (status) {
		explain(error, "give a smaller --buffer-size", "buffer of %zu bytes: %s",
			options->buffer_bytes, strerror(-status));
		return status;
	}
	status = bootprof_bpf__attach(programs);
	if (status) {
		explain(error, WITHOUT_BPF, "the kernel refused to attach a BPF program: %s (%s)",
			strerror(-status), complaint);
		return status;
	}
	snprintf(tracer->store->header->backend, sizeof(tracer->store->header->backend),
		 "ebpf (%s, %s)", attachment(programs),
		 chosen.perf_buffer ? "perf buffer" : "ring buffer");
	return 0;
}

/* Read the kernel's types; load and attach the programs, with or without the fast variant. */
static int load(struct tracer *tracer, bool may_be_quick, bool *quick,
		const struct tracer_options *options, struct tracer_error *error)
{
	int types, status;

	kernel_types = btf__parse(KERNEL_BTF, NULL);
	if (!kernel_types) {
		explain(error, WITHOUT_BPF, KERNEL_BTF ": %s: the kernel has no description of its "
			"types (CONFIG_DEBUG_INFO_BTF)", strerror(errno));
		return -ENOENT;
	}
	*quick = may_be_quick && kernel_allows_fentry(kernel_types);
	types = memfd_create("kernel types", MFD_CLOEXEC);
	status = load_with(types, tracer, kernel_types, *quick, options, error);
	if (types >= 0)
		close(types);
	btf__free(kernel_types);
	kernel_types = NULL;
	return status;
}

static void unload(struct tracer *tracer)
{
	ring_buffer__free(tracer->ring);
	perf_buffer__free(tracer->perf);
	bootprof_bpf__destroy(tracer->programs);
	tracer->ring = NULL;
	tracer->perf = NULL;
	tracer->programs = NULL;
}

/* Start, while sysfs is mounted. */
static int start(struct tracer *tracer, const struct tracer_options *options,
		 struct tracer_error *error)
{
	bool quick = false;
	int status;

	if (!kernel_allows_bpf()) {
		explain(error, "run it as root, or give it CAP_BPF and CAP_PERFMON",
			"no privilege to load BPF programs");
		return -EPERM;
	}
	if (kernel_hides_memory()) {
		explain(error, WITHOUT_BPF, LOCKDOWN ": the kernel is locked down "
			"(confidentiality): BPF programs may not read its memory");
		return -EPERM;
	}
	tracer->processors = libbpf_num_possible_cpus();
	if (tracer->processors < 1)
		tracer->processors = 1;
	status = load(tracer, true, &quick, options, error);
	/* The kernel may lack these functions, or ftrace to attach to them. */
	if (status && quick) {
		unload(tracer);
		status = load(tracer, false, &quick, options, error);
	}
	return status;
}

/**
 * tracer_start() - start tracing
 * @options: what and how
 * @store: where events go
 * @error: set if it does not start
 *
 * Return: the tracer, or NULL.
 */
struct tracer *tracer_start(const struct tracer_options *options, struct store *store,
			    struct tracer_error *error)
{
	struct tracer *tracer = calloc(1, sizeof(*tracer));
	bool mounted = false, made = false, traced = false;
	int status;

	if (!tracer) {
		explain(error, "", "%s", strerror(ENOMEM));
		return NULL;
	}
	tracer->store = store;
	verbose = options->verbose;
	libbpf_set_print(hear_libbpf);
	/* Before the first process of an initramfs, nothing is mounted. */
	if (access("/sys/kernel", F_OK)) {
		made = !mkdir("/sys", 0555);
		mounted = !mount("sysfs", "/sys", "sysfs", 0, NULL);
	}
	if (!kernel_has_tracefs())
		traced = !mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	status = start(tracer, options, error);
	if (traced)
		umount2(TRACEFS, MNT_DETACH);
	if (mounted)
		umount2("/sys", MNT_DETACH);
	if (made)
		rmdir("/sys");
	if (!status)
		return tracer;
	unload(tracer);
	free(tracer);
	return NULL;
}

/* Runs that the kernel skipped because another run on that processor had not ended. */
static uint64_t skipped_runs(struct tracer *tracer)
{
	struct bpf_program *program;
	uint64_t total = 0;

	bpf_object__for_each_program(program, tracer->programs->obj) {
		struct bpf_prog_info info = {};
		uint32_t length = sizeof(info);

		if (bpf_program__autoload(program) &&
		    !bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length))
			total += info.recursion_misses;
	}
	return total;
}

static void read_losses(struct tracer *tracer)
{
	uint64_t total = 0;
	size_t loss;

	for (loss = 0; loss < BOOTPROF_LOSSES; loss++)
		total += __atomic_load_n(&tracer->programs->bss->losses[loss], __ATOMIC_RELAXED);
	tracer->store->header->lost_in_kernel = total;
	tracer->store->header->skipped_runs = skipped_runs(tracer);
}

/**
 * tracer_drain() - wait for events and store them
 * @tracer: the tracer
 * @timeout_ms: return after this many milliseconds, or as soon as the buffer is half full
 */
void tracer_drain(struct tracer *tracer, int timeout_ms)
{
	/* Polling reports a buffer that is half full; the rest is in there without a wake-up. */
	if (tracer->ring) {
		ring_buffer__poll(tracer->ring, timeout_ms);
		ring_buffer__consume(tracer->ring);
	} else {
		perf_buffer__poll(tracer->perf, timeout_ms);
		perf_buffer__consume(tracer->perf);
	}
	read_losses(tracer);
}

/* Stop, and store what is left in the buffer. */
void tracer_stop(struct tracer *tracer)
{
	bootprof_bpf__detach(tracer->programs);
	/* Wait until programs that are running at this moment have ended. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	tracer_drain(tracer, 0);
	unload(tracer);
	free(tracer);
}
