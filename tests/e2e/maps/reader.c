/* Holds nothing but the fd in BPFLEET_MAP_FD: reads it by lookup and by mmap, and tries to write.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(void)
{
	const char *number = getenv("BPFLEET_MAP_FD");
	const int fd = number == NULL ? -1 : atoi(number);
	uint64_t value = 1;
	uint32_t key = 2;
	const uint64_t *values;

	if (bpf_map_lookup_elem(fd, &key, &value) < 0 || value != 0) {
		perror("lookup");
		return 1;
	}
	values = mmap(NULL, 4 * sizeof(value), PROT_READ, MAP_SHARED, fd, 0);
	if (values == MAP_FAILED || values[key] != 0) {
		perror("mmap");
		return 1;
	}
	value = 5;
	if (bpf_map_update_elem(fd, &key, &value, BPF_ANY) == 0 || errno != EPERM ||
	    mmap(NULL, sizeof(value), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED ||
	    mprotect((void *)(uintptr_t)values, sizeof(value), PROT_READ | PROT_WRITE) == 0 ||
	    bpf_map_freeze(fd) == 0) {
		(void)fprintf(stderr, "the map can be written\n");
		return 1;
	}
	return values[key] == 0 ? 0 : 1;
}
