/* bpfleet-resolver: looks up one symbol in the file on fd 0, locked in before it reads a byte of
 * it. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/resolver/resolve.h"
#include "daemon/sandbox/sandbox.h"

#define MEMORY_MAX_BYTES (512u << 20) /* the symbol tables of the largest browsers fit */
#define CPU_MAX_SECONDS 5

static int limit(int resource, rlim_t most, struct error *err)
{
	const struct rlimit value = { .rlim_cur = most, .rlim_max = most };

	if (setrlimit((__rlimit_resource_t)resource, &value) < 0)
		return error_raise(err, ERROR_IO, "cannot limit resource %d", resource);
	return 0;
}

static int lock_in(struct error *err)
{
	int r;

	r = limit(RLIMIT_CPU, CPU_MAX_SECONDS, err);
	if (r == 0)
		r = limit(RLIMIT_CORE, 0, err);
	/* Sanitizers reserve terabytes of address space. */
	if (r == 0 && !sandbox_is_sanitized())
		r = limit(RLIMIT_AS, MEMORY_MAX_BYTES, err);
	if (r == 0)
		r = sandbox_enter_resolver(err);
	return r;
}

int main(int argc, char **argv)
{
	static struct resolver_places places;
	struct resolver_result result;
	const bool usdt = argc == 3 && strcmp(argv[1], "--usdt") == 0;
	size_t size;
	struct error err = { 0 };

	log_init("bpfleet-resolver", LOG_LEVEL_ERROR);
	if (argc != 2 && !usdt) {
		(void)fputs("usage: bpfleet-resolver SYMBOL[+OFFSET] <BINARY >RESULT\n"
			    "       bpfleet-resolver --usdt PROVIDER:NAME <BINARY >RESULT\n",
			    stderr);
		return 2;
	}
	if (lock_in(&err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "lock in");
		return 1;
	}
	if (usdt)
		resolver_resolve_usdt(0, argv[2], &result, &places);
	else
		resolver_resolve(0, argv[1], &result);
	if (write(1, &result, sizeof(result)) != (ssize_t)sizeof(result))
		return 1;
	/* All of them fit into the pipe. */
	size = places.n * sizeof(places.places[0]);
	return size == 0 || write(1, places.places, size) == (ssize_t)size ? 0 : 1;
}
