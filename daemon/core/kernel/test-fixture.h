/* What the tests of this folder share: bundles made from fixtures, and a place of their own. */
#pragma once

#include <bpf/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpfleet/v1/bundle.pb-c.h"
#include "daemon/core/kernel/load.h"

struct arena;

/* A bundle whose manifest tells the truth about its objects, to be spoilt by a test. */
struct fixture {
	struct arena *arena;
	Bpfleet__V1__Bundle bundle;
};

/* Where fixture_init() finds NAME.bpf.o; first, what is built from fixtures/. */
extern const char *fixture_folder;

/* From NAME.bpf.o, for each of the n names an object of that name. */
void fixture_init(struct fixture *fixture, const char *const *names, size_t n);
void fixture_done(struct fixture *fixture);
Bpfleet__V1__ProgramSpec *fixture_program(struct fixture *fixture, const char *name);
Bpfleet__V1__MapSpec *fixture_map(struct fixture *fixture, const char *name);
/* The one hook that a program may have. */
void fixture_set_hook(struct fixture *fixture, const char *program, const char *pattern);
Bpfleet__V1__ParameterSpec *fixture_add_parameter(struct fixture *fixture, const char *object,
						  const char *name, Bpfleet__V1__ParameterType type,
						  uint32_t size_bytes);

/* The program or map of a loaded object; fails the test if there is none. */
struct kernel_program *object_program(const struct kernel_object *object, const char *name);
struct kernel_map *object_map(const struct kernel_object *object, const char *name);

/* As whom the tests run. */
enum place_role {
	PLACE_ROOT,
	PLACE_CAPS, /* uid 65534 with core's three capabilities */
	PLACE_CORE, /* the same, and in core's sandbox */
};

/* "caps" and "core" as the first argument, else root. */
enum place_role place_role(int argc, char **argv);

/*
 * Runs a group of tests in a child with its own network and mount namespaces, a bpffs, the id of
 * one tracepoint, a veth pair with a route, and a cgroup. Returns an exit code; 77, with a reason
 * printed, when this machine cannot do that.
 */
int place_run(enum place_role role, int (*run)(void));
/* The same; prepare() is called in the child when the place stands, as root and outside the
 * sandbox. It may leave processes and sockets behind. */
int place_run_prepared(enum place_role role, bool (*prepare)(void), int (*run)(void));

/* What place_run() made; the same in every test. */
struct place {
	char bpffs[64];	       /* 0700, the test's own */
	char cgroup[256];      /* absolute path */
	char cgroup_below[64]; /* the same from the hierarchy's root */
	char program[4096];    /* path of the running test */
	uint64_t program_dev;
	uint64_t program_inode;
	uint32_t fork_id; /* of tracepoint sched:sched_process_fork */
};

extern struct place place;

/* Runs a shell command as root in the place, which must succeed. */
void place_command(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Sends n datagrams to port 7777 out of v0; they arrive at v1. */
void place_send(unsigned int n);
/* A UDP socket of the place, for those who send by themselves. */
int place_socket(void);
/* Number of open fds of this process. */
size_t place_count_fds(void);
