# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
# Rules for a program that runs in a guest: static, from its own folder and from common/. The
# including Makefile sets PROGRAM, SOURCES, COMMON_SOURCES and BUILD.

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Werror
M32 ?=
# Overridden for the sanitizers, which need shared libraries.
LINK ?= -static -s
COMMON := ../common
ALL_SOURCES := $(SOURCES) $(addprefix $(COMMON)/,$(COMMON_SOURCES))

$(BUILD)/$(PROGRAM): $(ALL_SOURCES) $(wildcard *.h $(COMMON)/*.h) Makefile ../program.mk
	mkdir -p $(BUILD)
	$(CC) $(M32) $(CFLAGS) $(WARNINGS) -I$(COMMON) -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 \
	  -ffunction-sections $(LINK) -Wl,--gc-sections -o $@ $(ALL_SOURCES)

clean:
	rm -rf $(BUILD)

.PHONY: clean
