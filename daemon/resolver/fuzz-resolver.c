/* The file that bpfleet-resolver reads is a stranger's: any bytes, three symbols and a probe. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/resolver/resolve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const symbols[] = { "probe_me", "memcpy@GLIBC_2.2.5", "probe_me+0x4" };
	int fd = memfd_create("target", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	for (int i = 0; i < 3; i++) {
		struct resolver_result result;

		resolver_resolve(fd, symbols[i], &result);
		/* A place outside of the file must never come out. */
		if (result.status == RESOLVER_OK && result.offset >= size)
			abort();
		if (result.status != RESOLVER_OK && (result.offset != 0 || result.inode != 0))
			abort();
	}
	{
		static struct resolver_places places;
		struct resolver_result result;

		resolver_resolve_usdt(fd, "demo:all", &result, &places);
		for (size_t i = 0; i < places.n; i++) {
			if (places.places[i].offset >= size || places.places[i].semaphore >= size ||
			    places.places[i].n_arguments > RESOLVER_ARGUMENTS_MAX)
				abort();
		}
	}
	(void)close(fd);
	return 0;
}
