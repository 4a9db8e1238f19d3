// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The bootprof authors
/*
 * bootprof_symbols.c - addresses of the kernel's functions and tables
 *
 * kallsyms_lookup_name() is not exported since 0bd476e6c671 ("kallsyms: unexport
 * kallsyms_lookup_name() and kallsyms_on_each_symbol()", 5.7). A kprobe looks its symbol up when it
 * is registered, and tells the address. The probes here are registered as disabled, so that no code
 * is patched, and no function that was found is ever called: with CONFIG_X86_KERNEL_IBT, one that
 * the kernel itself calls only directly has no landing pad, and the processor stops an indirect
 * call of it.
 */

#include "bootprof.h"

#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/slab.h>
#include <linux/string.h>

/*
 * Take the address that a probe has found, and the size that belongs to it. The address of a probe
 * may lie behind a landing pad: cc66bb914578 ("x86/ibt,kprobes: Cure sym+0 equals fentry woes",
 * 5.18). "%pS" prints name+offset/size.
 */
static void describe(struct bootprof_symbol *symbol, const void *address)
{
	unsigned long offset, size;
	char text[KSYM_SYMBOL_LEN];
	const char *plus;

	symbol->address = (unsigned long)address;
	symbol->size = 0;
	if (!address)
		return;
	snprintf(text, sizeof(text), "%pS", address);
	plus = strrchr(text, '+');
	if (plus && sscanf(plus, "+%lx/%lx", &offset, &size) == 2) {
		symbol->address -= offset;
		symbol->size = size;
	}
}

/**
 * bootprof_symbols_find() - find the addresses of symbols
 * @symbols: gets @address and @size of each, 0 if the kernel has no such symbol. Entries without a
 * name are passed over
 * @count: number of symbols
 *
 * The address is set even if no probe may be placed there (data, or code that kprobes refuse), in
 * which case register_kprobe() fails after it has found the address.
 *
 * Context: process.
 * Return: 0 or a negative error if symbols cannot be looked up.
 */
int bootprof_symbols_find(struct bootprof_symbol *symbols, size_t count)
{
	struct kprobe *probes = kcalloc(count, sizeof(*probes), GFP_KERNEL);
	struct kprobe **registered = kcalloc(count, sizeof(*registered), GFP_KERNEL);
	int registered_count = 0;
	int err = -ENOMEM;
	size_t i;

	if (!probes || !registered)
		goto free;
	for (i = 0; i < count; i++) {
		symbols[i].address = 0;
		symbols[i].size = 0;
		if (!symbols[i].name)
			continue;
		probes[i].symbol_name = symbols[i].name;
		probes[i].flags = KPROBE_FLAG_DISABLED;
		err = register_kprobe(&probes[i]);
		if (!err) {
			registered[registered_count++] = &probes[i];
		} else if (err != -ENOENT && !probes[i].addr) {
			pr_err("kprobes cannot look up %s: error %d\n", symbols[i].name, err);
			goto unregister;
		}
		describe(&symbols[i], probes[i].addr);
	}
	err = 0;

unregister:
	/* All at once, because each call waits for a grace period. */
	if (registered_count)
		unregister_kprobes(registered, registered_count);
free:
	kfree(registered);
	kfree(probes);
	return err;
}
