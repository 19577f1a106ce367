/* What the kernel says of itself and of objects that it already holds. */
#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/core/kernel/load.h"
#include "daemon/mapread/mapread.h"

struct release {
	unsigned int part[3];
};

/* Reads "6.6", "6.6.1" or "6.6.1-anything"; false when there are not at least two numbers. */
static bool release_parse(const char *text, bool whole, struct release *ret)
{
	struct release release = { { 0 } };
	int used[3] = { 0 };
	const int n = sscanf(text, "%5u.%5u%n.%5u%n", &release.part[0], &release.part[1], &used[0],
			     &release.part[2], &used[1]);

	if (n < 2 || (whole && text[n == 3 ? used[1] : used[0]] != '\0'))
		return false;
	*ret = release;
	return true;
}

int kernel_check_release(const char *min_kernel, struct error *err)
{
	struct release wanted, running;
	struct utsname name;

	if (min_kernel == NULL || min_kernel[0] == '\0')
		return 0;
	if (!release_parse(min_kernel, true, &wanted))
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "min_kernel \"%.32s\" is not a kernel release", min_kernel);
	if (uname(&name) < 0 || !release_parse(name.release, false, &running))
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot tell this kernel's release");
	for (size_t i = 0; i < 3; i++) {
		if (running.part[i] > wanted.part[i])
			return 0;
		if (running.part[i] < wanted.part[i])
			return error_raise(err, ERROR_KERNEL_TOO_OLD,
					   "the bundle needs Linux %s, this is %s", min_kernel,
					   name.release);
	}
	return 0;
}

int kernel_program_info(int program_fd, struct kernel_program_info *ret, struct error *err)
{
	uint32_t map_ids[KERNEL_PROGRAM_MAPS_MAX], size = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .nr_map_ids = ARRAY_SIZE(map_ids),
				      .map_ids = (uintptr_t)map_ids };

	if (bpf_prog_get_info_by_fd(program_fd, &info, &size) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a program");
	*ret = (struct kernel_program_info){
		.id = info.id,
		.type = info.type,
		.verified_insns = info.verified_insns,
		.n_runs = info.run_cnt,
		.run_time_ns = info.run_time_ns,
		.n_recursion_misses = info.recursion_misses,
		.n_map_ids = info.nr_map_ids < ARRAY_SIZE(map_ids) ? info.nr_map_ids
								   : ARRAY_SIZE(map_ids),
	};
	memcpy(ret->map_ids, map_ids, ret->n_map_ids * sizeof(map_ids[0]));
	memcpy(ret->tag, info.tag, sizeof(ret->tag));
	memcpy(ret->name, info.name, sizeof(ret->name) - 1);
	return 0;
}

int kernel_memory(int fd, uint64_t *ret_bytes, struct error *err)
{
	char path[48], line[128];
	_cleanup_fclose_ FILE *file = NULL;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "memlock: %" SCNu64, ret_bytes) == 1)
			return 0;
	}
	return error_raise_errno(err, ERROR_KERNEL_REFUSED, file == NULL ? errno : ENODATA,
				 "read %s", path);
}

int kernel_map_info(int map_fd, struct kernel_map_info *ret, struct error *err)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	int n_cpus = 0;

	if (bpf_map_get_info_by_fd(map_fd, &info, &size) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a map");
	if (map_type_of(info.type)->flags & MAP_PER_CPU) {
		n_cpus = mapread_possible_cpus();
		if (n_cpus < 0)
			return error_raise_errno(err, ERROR_KERNEL_REFUSED, -n_cpus,
						 "cannot count the possible CPUs");
	}
	*ret = (struct kernel_map_info){
		.id = info.id,
		.type = info.type,
		.key_size = info.key_size,
		.value_size = info.value_size,
		.max_entries = info.max_entries,
		.flags = info.map_flags,
		.n_cpus = (uint32_t)n_cpus,
	};
	memcpy(ret->name, info.name, sizeof(ret->name) - 1);
	return 0;
}
