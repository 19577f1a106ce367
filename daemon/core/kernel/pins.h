/*
 * Our pins on bpffs, as daemon/core/PINS.md lays them out:
 *
 *     BPFFS_DIR/STORE_UUID/INSTANCE/p_PROGRAM[_GENERATION]  m_MAP[_GENERATION]  i_ID  l_LINK
 *
 * Directories 0700, held open; nothing outside the store's directory is ever touched.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;

/* The directory of one store, open and locked. */
struct kernel_pins;

/*
 * Opens BPFFS_DIR/STORE_UUID, making it if needed, and takes its lock, so that no second daemon
 * works there; removes scratch pins that a crash left. Errors: CONFIG_INVALID (not a bpffs, or not
 * ours), UNAVAILABLE (locked by another process), KERNEL_REFUSED, OUT_OF_MEMORY.
 */
_must_check_ int kernel_pins_open(const char *bpffs_dir, const char *store_uuid,
				  struct kernel_pins **ret, struct error *err);
void kernel_pins_close(struct kernel_pins *pins);
DEFINE_CLEANUP(struct kernel_pins, kernel_pins_close)

enum kernel_pin_kind {
	KERNEL_PIN_PROGRAM,
	KERNEL_PIN_MAP,
	KERNEL_PIN_LINK,
	KERNEL_PIN_INNER,   /* a map that core made for a map of maps */
	KERNEL_PIN_FOREIGN, /* from listings only: a name that we never make */
};

/* Longest id of an instance or a link that a pin can carry; letters, digits, '-' and '_'. */
#define KERNEL_PIN_ID_MAX 63

/* Names one pin. */
struct kernel_pin {
	const char *instance;
	enum kernel_pin_kind kind;
	uint32_t ordinal;    /* of a program or map; kernel's id of an inner map */
	uint32_t generation; /* of a program or map: version of the instance, 0 the first */
	const char *link;    /* our id of a link */
};

/*
 * Pins fd. The instance's directory is made with kernel_pins_add_instance(). All of these may be
 * called from several threads. Errors: ALREADY_EXISTS, NOT_FOUND, INVALID_NAME, KERNEL_REFUSED.
 */
_must_check_ int kernel_pin(struct kernel_pins *pins, const struct kernel_pin *pin, int fd,
			    struct error *err);
/* A pin that is not there is success. */
_must_check_ int kernel_unpin(struct kernel_pins *pins, const struct kernel_pin *pin,
			      struct error *err);
/* Pins fd in place of what is pinned there, in one step: no moment without a pin. Errors:
 * INVALID_NAME, KERNEL_REFUSED. */
_must_check_ int kernel_pin_swap(struct kernel_pins *pins, const struct kernel_pin *pin, int fd,
				 struct error *err);
/* A new fd. readonly only for maps. Errors: NOT_FOUND, KERNEL_REFUSED. */
_must_check_ int kernel_pin_open(struct kernel_pins *pins, const struct kernel_pin *pin,
				 bool readonly, int *ret_fd, struct error *err);

/* Makes the instance's directory; that it exists is success. */
_must_check_ int kernel_pins_add_instance(struct kernel_pins *pins, const char *instance,
					  struct error *err);
/* Unpins everything of an instance, links first, and removes its directory; absent is success.
 * Errors: KERNEL_REFUSED (also for a foreign name, which is left alone). */
_must_check_ int kernel_pins_remove_instance(struct kernel_pins *pins, const char *instance,
					     struct error *err);

/* Unpins the programs and maps of every generation of an instance that is not among those given.
 * Errors: KERNEL_REFUSED, OUT_OF_MEMORY. */
_must_check_ int kernel_pins_keep_generations(struct kernel_pins *pins, const char *instance,
					      const uint32_t *generations, size_t n,
					      struct error *err);

/*
 * One entry of a listing. An instance without pins appears once, as foreign with an empty name; a
 * foreign file in the store's directory itself has an empty instance.
 */
struct kernel_pin_entry {
	char instance[KERNEL_PIN_ID_MAX + 1];
	char name[256]; /* file name: "p_0" */
	enum kernel_pin_kind kind;
	uint32_t ordinal;
	uint32_t generation;
	char link[KERNEL_PIN_ID_MAX + 1];
};

struct kernel_pin_list {
	struct kernel_pin_entry *entries;
	size_t n_entries;
};

/* Everything below the store's directory, instances in no order. Release with
 * kernel_pin_list_done(). Errors: KERNEL_REFUSED, OUT_OF_MEMORY. */
_must_check_ int kernel_pins_list(struct kernel_pins *pins, struct kernel_pin_list *ret,
				  struct error *err);
void kernel_pin_list_done(struct kernel_pin_list *list);

/* Path of a pin for people ("UUID/INSTANCE/p_0"), cut to size. */
void kernel_pin_path(const struct kernel_pins *pins, const char *instance, const char *name,
		     char *out, size_t size);

/*
 * A file of its own of the same map, pinned under a scratch name for the moment. With BPF_F_RDONLY
 * nothing can be written through it, which is no boundary against a process that can write to a
 * bpffs directory (kernel-facts: re-pin and reopen), so it goes to front only. Errors:
 * KERNEL_REFUSED.
 */
_must_check_ int kernel_reopen_map(struct kernel_pins *pins, int map_fd, uint32_t flags,
				   int *ret_fd, struct error *err);
