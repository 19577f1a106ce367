/*
 * The hook matrix: every way to attach a program, as a row of a table, tried as the product does
 * it (kernel_load, kernel_attach, kernel_describe, kernel_detach) with a real event, as root, with
 * core's three capabilities, and in core's sandbox. A row either fires, or the product says why
 * this kernel cannot (kernel_probe, or the error KERNEL_UNSUPPORTED). Run on the host and in
 * guests with other kernels (tests/vm).
 *
 * A new row: a program in tests/hooks/programs/OBJECT.bpf.c that counts with count(), an entry in
 * a cases-*.c, nothing else. Programs of one object that no row of the moment names are not loaded.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Kernels of which `must` speaks. On another, a row may be unsupported. */
#define ON_HOST 1u /* the machine of the CI: its kernel refuses trampolines and has no kprobes */
#define ON_6_1 2u
#define ON_6_12 4u
#define ON_7 8u /* 7.0 and later */
#define ON_GUESTS (ON_6_1 | ON_6_12 | ON_7)
#define ON_ALL (ON_HOST | ON_GUESTS)

struct hook_case {
	const char *name;    /* as printed, without spaces: "xdp,mode=generic" */
	const char *object;  /* programs/OBJECT.bpf.c */
	const char *program; /* of that object */
	const char *pattern; /* of the manifest; NULL: "KIND:*", the kind of `hook` */
	/*
	 * The hook, with these replaced: {cgroup} the case's cgroup, {pid} the actor's pid,
	 * {program} the path of the running test. The place has a veth pair v0 (10.77.0.1) and v1.
	 */
	const char *hook;
	/* What a uprobe of {program} is set on: offset, device and inode are resolved for it. */
	const void *function;
	/*
	 * Makes the event happen n times, or fails with a cmocka assertion. Runs in the actor: a
	 * process that is root, outside the sandbox, in the case's cgroup and network namespace.
	 * Programs ask is_watched_task() whether they run in it. NULL: the link is an iterator's,
	 * and is read n times.
	 */
	void (*fire)(unsigned int n);
	/*
	 * Before anything is attached, in the actor; may be NULL. Sockets and the like stay open.
	 * For a hook on a socket it sets handed_socket.
	 */
	void (*prepare)(void);
	unsigned int minimum; /* counted for the FIRES events; 0: FIRES */
	unsigned int must;    /* ON_*: kernels where "not supported" is a failure */
};

#define FIRES 10u

/* The groups of rows, each in its own cases-*.c. */
struct hook_cases {
	const struct hook_case *cases;
	size_t n;
};

extern const struct hook_cases cases_base;
extern const struct hook_cases cases_net;
extern const struct hook_cases cases_trace;

/* What a client would hand over with the call; -1: nothing. */
extern int handed_socket;

/* Events that several rows use. */
void fire_packets(unsigned int n); /* n datagrams to 10.77.0.2:7777, out of v0 and into v1 */
void fire_forks(unsigned int n);   /* n threads, each a sched_process_fork */
