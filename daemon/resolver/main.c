/* bpfleet-resolver: looks up one symbol in the file on fd 0, locked in before it reads a byte of
 * it. */
#include <stdio.h>
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
	struct resolver_result result;
	struct error err = { 0 };

	log_init("bpfleet-resolver", LOG_LEVEL_ERROR);
	if (argc != 2) {
		(void)fputs("usage: bpfleet-resolver SYMBOL[+OFFSET] <BINARY >RESULT\n", stderr);
		return 2;
	}
	if (lock_in(&err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "lock in");
		return 1;
	}
	resolver_resolve(0, argv[1], &result);
	return write(1, &result, sizeof(result)) == (ssize_t)sizeof(result) ? 0 : 1;
}
