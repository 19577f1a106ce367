/*
 * Hooks: attaching loaded programs, checking links that were found pinned, telling what the kernel
 * shows, detaching. A row for each kind of hook (bundle/hook-kinds.c), a file for each way to
 * attach. Attach and detach may wait for RCU, 80 ms and more: call them from a worker.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct hook;
struct netns_reply;
struct netns_request;
struct order;

/* What hooks need from the process around them. Borrowed; may be shared by threads. */
struct kernel_context {
	/* Asks the supervisor for the id of a classic tracepoint. Errors: TARGET_NOT_FOUND. */
	int (*tracepoint_id)(void *user, const char *category, const char *name, uint32_t *ret_id,
			     struct error *err);
	/* Asks it for an fd of the list of functions that ftrace can trace, its offset at the
	 * start. Errors: KERNEL_UNSUPPORTED. */
	int (*traceable)(void *user, int *ret_fd, struct error *err);
	void *user;
	/*
	 * Does something in another network namespace (daemon/netns/protocol.h): looks an interface
	 * up, or makes a link, whose fd it returns (else -1). ret->status is what came of it once
	 * the namespace was entered. NULL: there is no way. Errors: TARGET_NOT_FOUND (no such
	 * namespace), UNAVAILABLE.
	 */
	int (*netns)(void *user, const struct netns_request *request, int program_fd,
		     struct netns_reply *ret, int *ret_fd, struct error *err);
	/* Use clsact filters for tc even where tcx works. */
	bool force_clsact;
	/* Places of our links where a hook runs several; NULL: each new one runs last. */
	struct order *order;
};

#define KERNEL_ARGUMENTS_MAX 12
#define KERNEL_PLACES_MAX 128

/* Where the arguments of a USDT probe are at one place, as programs expect it (struct
 * __bpf_usdt_spec of libbpf's usdt.bpf.h, which is part of compiled programs and so stays). */
struct kernel_probe_spec {
	struct {
		uint64_t value;
		uint32_t type; /* 0 the value, 1 a register, 2 memory at register plus value */
		int16_t reg;   /* offset in struct pt_regs */
		uint8_t is_signed;
		uint8_t shift; /* 64 less the bits of the argument */
	} arguments[KERNEL_ARGUMENTS_MAX];
	uint64_t cookie;
	int16_t n_arguments;
	uint8_t padding[6];
};

/* A place of a USDT probe. No padding, so that it can be stored as bytes. */
struct kernel_place {
	uint64_t offset;    /* in the file */
	uint64_t semaphore; /* in the file; 0: none */
	struct kernel_probe_spec spec;
};
static_assert(sizeof(struct kernel_place) == 16 + 208, "as programs and the store have it");

/* What the resolver found in a file; core opens the file itself and compares. */
struct kernel_resolved {
	uint64_t offset; /* of a function */
	uint64_t dev;
	uint64_t inode;
	const struct kernel_place *places; /* of a USDT probe */
	size_t n_places;
};

/* What shall be attached, or is believed to be. Everything borrowed. */
struct kernel_attach {
	const struct kernel_context *context;
	const struct hook *hook;
	const char *link; /* our id of the link; clsact filters take their handle from it */
	int program_fd;
	uint32_t program_id; /* kernel's */
	/* Of a hook in a file, to attach; may be NULL otherwise. */
	const struct kernel_resolved *resolved;
	/* The map that kernel_hook_map() names, or the socket of a hook on one; -1: none. To
	 * attach. */
	int target_fd;
	bool is_again;	/* this link was attached before: a process id may mean another process */
	int32_t beside; /* kernel_update()'s: this much behind the hook's own priority */
};

/* How a program hangs in the kernel. */
enum kernel_link_form {
	KERNEL_LINK_FD,	      /* a bpf_link: pinned to live on */
	KERNEL_LINK_CLSACT,   /* a tc filter: lives on by itself, has no fd and no owner */
	KERNEL_LINK_SELECTOR, /* nothing: the hook only says which others are to be made */
	KERNEL_LINK_SOCKET,   /* nothing of ours: somebody's socket carries the program */
};

struct kernel_link {
	enum kernel_link_form form;
	int fd;	     /* owned; -1 with KERNEL_LINK_CLSACT */
	uint32_t id; /* kernel's id of the link; 0 where it is none */
	bool beside; /* not at its own place yet: call kernel_update() again */
};

#define KERNEL_LINK_NONE ((struct kernel_link){ .fd = -1 })

/* The map of the instance that a hook needs to be attached; NULL: none. With *ret_optional it does
 * without one. */
const char *kernel_hook_map(const struct hook *hook, bool *ret_optional);
/* Whether kernel_update() has the link go over to another such map. */
bool kernel_hook_swaps_map(const struct hook *hook);

/* Whether there is such a kind, and programs of this type (enum bpf_prog_type) may be attached to
 * it. Errors: INVALID_HOOK. */
_must_check_ int kernel_hook_check(const struct hook *hook, uint32_t program_type,
				   struct error *err);

/*
 * Attaches. Errors: INVALID_HOOK, TARGET_NOT_FOUND, TARGET_CHANGED (uprobe), HOOK_BUSY (detail
 * "holder_program_id" where the kernel tells), KERNEL_UNSUPPORTED, KERNEL_REFUSED, OUT_OF_MEMORY,
 * and what context->tracepoint_id raised.
 */
_must_check_ int kernel_attach(const struct kernel_attach *attach, struct kernel_link *ret,
			       struct error *err);

/* A new fd that runs the iterator of a link once as it is read. Errors: KERNEL_REFUSED. */
_must_check_ int kernel_open_iterator(int link_fd, int *ret_fd, struct error *err);

/*
 * Opens the event that a perf_event_array delivers a CPU's records to, and puts it in: until it is
 * replaced, or the map's file behind map_fd is closed. Leaves *ret_fd alone where that CPU is
 * offline. Errors: PROTOCOL (map_fd is not of that map), KERNEL_UNSUPPORTED, KERNEL_REFUSED.
 */
_must_check_ int kernel_perf_output(int map_fd, uint32_t map_id, uint32_t cpu, int *ret_fd,
				    struct error *err);

/*
 * Calls a program of type syscall, which may sleep; context is read and written, at most 65,535
 * bytes. Errors: INVALID_ARGUMENT (the program looks at a larger context), KERNEL_REFUSED.
 */
_must_check_ int kernel_run_program(int program_fd, void *context, size_t context_size,
				    uint32_t *ret_value, struct error *err);

/* States of a link, as far as the kernel shows them. */
enum kernel_link_state {
	KERNEL_LINK_ATTACHED,
	KERNEL_LINK_TARGET_GONE, /* the interface or cgroup does not exist any more */
	KERNEL_LINK_DRIFTED,	 /* other program, other target, or no longer there */
};

struct kernel_link_view {
	enum kernel_link_state state;
	uint32_t program_id; /* that runs there; 0: none, or not told */
	uint32_t map_id;     /* of the table that a link of struct_ops holds; else 0 */
	bool beside;	     /* where kernel_update() has put it for a moment: call it again */
	char reason[160];    /* for people, when not ATTACHED */
};

/* Compares what the kernel shows of a link with what should be. Errors: KERNEL_REFUSED. */
_must_check_ int kernel_describe(const struct kernel_attach *attach, const struct kernel_link *link,
				 struct kernel_link_view *ret, struct error *err);

/*
 * After a restart: takes the fd opened from the link's pin (or -1: none; then only a clsact filter
 * may be found) and returns it as a link, with its view. pinned_fd is the link's on success, stays
 * the caller's on failure. Errors: NOT_FOUND (no pin and no filter), TARGET_CHANGED (the fd is no
 * link of that kind), KERNEL_REFUSED.
 */
_must_check_ int kernel_adopt(const struct kernel_attach *attach, int pinned_fd,
			      struct kernel_link *ret, struct kernel_link_view *ret_view,
			      struct error *err);

/*
 * Detaches and closes; the link is KERNEL_LINK_NONE afterwards, also on failure. Links of tracing
 * kinds end with their last reference: unpin first. A clsact filter that is not ours any more is
 * left alone, which is success. Errors: KERNEL_REFUSED.
 */
_must_check_ int kernel_detach(const struct kernel_attach *attach, struct kernel_link *link,
			       struct error *err);

/*
 * Has a link run attach->program_fd (attach->program_id) in place of old_program_fd (kernel's id
 * old_program_id), and fails if something else runs there. Where the kernel can swap the program of
 * a link, every event is seen by one of the two; *link stays, *ret_old becomes KERNEL_LINK_NONE.
 * Elsewhere the new program is attached beside the old one, both run, and *link becomes the new
 * link, *ret_old the one to be detached as soon as the pin is the new link's. Where the kernel has
 * no room for both at one place, the new link is at another one near by (link->beside), and goes to
 * its own by a second call, from the new program to the new program. On failure nothing
 * has changed. Errors: TARGET_NOT_FOUND (the target is gone), LINK_DRIFTED (another program runs
 * there), and those of kernel_attach().
 */
_must_check_ int kernel_update(const struct kernel_attach *attach, int old_program_fd,
			       uint32_t old_program_id, struct kernel_link *link,
			       struct kernel_link *ret_old, struct error *err);

/* Closes the fd and nothing else: a pinned link lives on. */
void kernel_link_close(struct kernel_link *link);

/* New string (free()): where the target of such a hook is in the file system; NULL if it is no
 * path.
 */
char *kernel_hook_path(const char *kind, const void *target, size_t n);

/* Whether this kernel can host a kind. */
struct kernel_support {
	const char *kind;
	bool supported;
	char detail[96]; /* why not, or how ("tcx", "clsact") */
};

/* All kinds in the order of the table: name by index, NULL past the end. */
const char *kernel_hook_kind(size_t i);
/* Finds out by trying, a few system calls each; the caller keeps the answer. i < number of kinds.
 */
void kernel_probe(size_t i, struct kernel_support *ret);
/* The same of a type of maps, map_types[i]. */
void kernel_probe_map(size_t i, struct kernel_support *ret);
