# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# bootprof: `make help` lists what there is to make.
#
# Every target installs what it needs on a fresh Debian 12 as root (apt and a virtual
# environment) and is safe to repeat.

SHELL := /bin/bash
PYTHON ?= /usr/bin/python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where images, profiles and the cache of downloads and bootstrapped systems go.
OUT ?= out
# Where man pages and completion go.
BUILD ?= build
# How many tests run at a time.
JOBS ?= $(shell nproc)

# What the host needs, by the name of its Debian package.
APT_PACKAGES := arch-test bc bison blktrace bpftool busybox-static ca-certificates clang cpio cryptsetup-bin \
	dnsmasq-base dosfstools e2fsprogs erofs-utils fatrace fdisk file flex fuse3 gcc gcc-multilib gettext git gpg \
	gpg-agent grub-common grub-efi-amd64-bin grub-efi-ia32-bin grub-pc-bin inotify-tools iproute2 isolinux \
	isomd5sum kmod libbpf-dev libc6-dev libelf-dev liblzo2-dev libnbd-bin \
	linux-headers-amd64 linux-perf linux-source-6.1 llvm make man-db mmdebstrap mtools \
	musl-tools nbdkit nbdkit-plugin-dev nfs-ganesha nfs-ganesha-vfs ovmf ovmf-ia32 perl \
	procps python3 python3-bpfcc python3-dev python3-venv qemu-system-x86 rpcbind \
	shellcheck skopeo sparse squashfs-tools squashfs-tools-ng strace syslinux-common \
	uidmap whiptail xorriso xz-utils zlib1g-dev zstd

.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

packages: ## Install the Debian packages that are missing (needs root)
	@missing=$$(dpkg-query -W -f='$${Package} $${Status}\n' $(APT_PACKAGES) 2>/dev/null \
	  | awk '/ok installed/ {print $$1}' | sort | comm -13 - <(printf '%s\n' $(APT_PACKAGES) | sort)); \
	if [ -n "$$missing" ]; then \
	  echo "installing:" $$missing; \
	  apt-get update -q=2 && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

PIP := $(BIN)/pip install --quiet --disable-pip-version-check

$(BIN)/.installed: pyproject.toml requirements/dev.txt | packages
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

venv: $(BIN)/.installed ## Make the virtual environment, with the versions in requirements/dev.txt

lock: packages ## Write the newest versions that pyproject.toml allows to requirements/dev.txt
	$(PYTHON) -m venv $(BUILD)/lock
	$(BUILD)/lock/bin/pip install --quiet --disable-pip-version-check uv
	$(BUILD)/lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --upgrade --quiet \
	  --custom-compile-command "make lock" --output-file requirements/dev.txt

lint: lint-python lint-c lint-shell ## Check style, types, unused code and licences

lint-python: venv ## Check the Python sources, and all licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vulture
	$(BIN)/reuse lint --quiet || $(BIN)/reuse lint

# checkpatch.pl and kernel-doc: Debian packs the former with the source of the kernel only.
KERNEL_SOURCE := linux-source-6.1
KERNEL_SCRIPTS := $(BUILD)/kernel-scripts
C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')

# Types of remark that do not apply to programs. They have neither the kernel's macros nor its
# types; their signal flags, forced reads and BPF constants are volatile, and BPF constants need
# an initialiser; the C library has names like PRIu64; a usage text spans lines; a check of a
# pointer that is passed as an int needs its comparison; a list that a macro goes through is no
# value; and the name of a program is read by files that it is linked with.
NOT_PROGRAMS := ARRAY_SIZE,BIT_MACRO,CAMELCASE,COMPARISON_TO_NULL,COMPLEX_MACRO
NOT_PROGRAMS := $(NOT_PROGRAMS),EMBEDDED_FUNCTION_NAME,ENOSYS,GLOBAL_INITIALISERS,MACRO_ARG_REUSE
NOT_PROGRAMS := $(NOT_PROGRAMS),PREFER_DEFINED_ATTRIBUTE_MACRO,PREFER_KERNEL_TYPES,SPLIT_STRING
NOT_PROGRAMS := $(NOT_PROGRAMS),STATIC_CONST_CHAR_ARRAY,VOLATILE

$(KERNEL_SCRIPTS)/.unpacked: | packages
	mkdir -p $(@D)
	tar --extract --file=/usr/src/$(KERNEL_SOURCE).tar.xz --directory=$(@D) \
	  --strip-components=2 --occurrence=1 $(addprefix $(KERNEL_SOURCE)/scripts/, \
	  checkpatch.pl const_structs.checkpatch kernel-doc spelling.txt)
	touch $@

lint-c: $(KERNEL_SCRIPTS)/.unpacked ## Check the C files with the kernel's own tools
	$(KERNEL_SCRIPTS)/checkpatch.pl --file $(filter kmod/%,$(C_FILES))
	$(KERNEL_SCRIPTS)/checkpatch.pl --ignore $(NOT_PROGRAMS) --file $(filter-out kmod/%,$(C_FILES))
	$(KERNEL_SCRIPTS)/kernel-doc -none -Werror $(C_FILES)

# A shell script is a file with a line that starts like "#!/bin/sh".
lint-shell: packages ## Check the shell scripts
	git grep --files-with-matches --untracked -E '^#! ?/.*\b(ba|da)?sh\b' -- ':!*.py' ':!Makefile' \
	  | xargs shellcheck --external-sources --check-sourced

test: venv ## Run the tests, JOBS at a time; those that boot use the kernels of two suites
	$(BIN)/pytest -n $(JOBS) -m "not media and not live and not images and not examples"

# A machine that boots waits for much, so one more than there are processors keeps these in use.
test-media: venv ## Boot a medium of each shape
	$(BIN)/pytest -n $$(($(JOBS) + 1)) -m media

test-live: venv ## Boot live systems that copy and install themselves
	$(BIN)/pytest -n $(JOBS) -m live

test-examples: venv ## Build and boot the examples of config/, more desktops and suites
	$(BIN)/pytest -n $(JOBS) -m examples

test-images: venv ## Boot images of other builders
	$(BIN)/pytest -n $(JOBS) -m images

test-quick: venv ## Run the tests that need no boot and no installation (about two minutes)
	$(BIN)/pytest -n $(JOBS) -m "not vm and not install and not media and not live and not images \
	  and not examples"

test-kernels: venv ## Run the tests that boot on the kernels of every suite, sid's newest too
	BOOTPROF_SUITES="bookworm bullseye trixie sid" $(BIN)/pytest -n $(JOBS) tests/kmod tests/ebpf \
	  tests/guest tests/vmtest

KILLS ?= 20

test-kills: venv ## Kill KILLS builds and KILLS profiles at random points, and check for remains
	BOOTPROF_KILLS=$(KILLS) $(BIN)/pytest -k killed tests/builder/test_whole_builds.py \
	  tests/boot/test_hostile_vm.py

CYCLES ?= 1000

soak: venv ## Load the module, record under load and unload it, CYCLES times on each kernel (hours)
	BOOTPROF_SUITES="bookworm bullseye trixie sid" BOOTPROF_SOAK_CYCLES=$(CYCLES) \
	  $(BIN)/pytest tests/kmod -k again_and_again

DEBUG_CYCLES ?= 100

soak-debug: venv ## The same DEBUG_CYCLES (100) times on a kernel with lockdep and KASAN, built from source
	$(BIN)/python -m vmtest.debugkernel --output $(OUT) --cycles $(DEBUG_CYCLES)

FUZZ_SECONDS ?= 60

fuzz: venv ## Fuzz everything that reads files of other tools, FUZZ_SECONDS (60) for each target
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

matrix: venv ## Boot every recorder on every kernel and write docs/matrix.md (about ten minutes)
	$(BIN)/python -m bench.matrix --write

bench-boot: venv ## Boot the image with one optimization after the other, on emulated drives; write docs/boot-bench.md
	$(BIN)/python -m bench.boot --write

demo: venv ## Build, profile, sort, rebuild with readahead, boot again, compare: the main job on Debian 12
	$(BIN)/bootprof build --profiling --no-sort --output $(OUT) --image $(OUT)/unsorted.iso
	$(BIN)/bootprof profile $(OUT)/unsorted.iso --backend kmod --accelerator icount --output $(OUT)/unsorted
	$(BIN)/bootprof sort --root $(OUT)/root --image $(OUT)/unsorted.iso --place auto \
	  $(OUT)/unsorted/bootlog.events > config/distrib.sort \
	  || { rm -f config/distrib.sort; exit 1; }
	$(BIN)/bootprof build --profiling --readahead $(OUT)/unsorted/bootlog.events \
	  --output $(OUT) --image $(OUT)/optimized.iso
	$(BIN)/bootprof profile $(OUT)/optimized.iso --backend kmod --accelerator icount --output $(OUT)/optimized
	$(BIN)/bootprof compare $(OUT)/unsorted $(OUT)/optimized --output $(OUT)

docs-pictures: venv ## Make the pictures of the documents from the output of the demo
	@command -v chromium > /dev/null || { apt-get update -q=2 && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core; }
	$(BIN)/python -m bench.pictures $(OUT)

docs: venv ## Write man pages and shell completion to BUILD
	$(BIN)/python docs/manual.py $(BUILD)/man
	mkdir -p $(BUILD)/completion
	for shell in bash zsh tcsh; do \
	  $(BIN)/shtab --shell=$$shell --error-unimportable bootprof.cli.build_parser \
	    > $(BUILD)/completion/bootprof.$$shell || exit 1; \
	done

docs-tables: venv ## Write the tables of options in docs/commands
	$(BIN)/python docs/manual.py --tables

clean: ## Remove OUT and BUILD, except OUT/cache (downloads, bootstrapped systems)
	@if [ -d "$(OUT)" ] && [ ! -e "$(OUT)/cache/.lock" ]; then \
	  echo "make clean: $(OUT) holds no cache/.lock, so bootprof did not make it; nothing removed" >&2; \
	  exit 1; \
	fi
	if [ -d "$(OUT)" ]; then find "$(OUT)" -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +; fi
	rm -rf "$(BUILD)"

distclean: clean ## Remove OUT/cache and the virtual environment, too
	rm -rf "$(OUT)" $(VENV)

.PHONY: test-examples test-media test-live test-images help packages venv lock lint test test-quick test-kernels lint-python lint-c lint-shell soak soak-debug fuzz test-kills matrix bench-boot \
	demo docs docs-pictures \
	docs-tables clean distclean
