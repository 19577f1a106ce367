#include <err.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "tests/e2e/hammer/view.h"

#define N_LINKS 3

struct foreign {
	int link_fds[N_LINKS];
	struct bpf_link_info links[N_LINKS];
	char pins[3][512]; /* a program, a map, a link */
	uint32_t program_id, map_id;
	unsigned int shared; /* interface */
};

/* Two instructions: return what lets a packet go on. */
static int load_program(enum bpf_prog_type type, int result)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = result },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(type, "foreign", "GPL", insns, 2, NULL);

	if (fd < 0)
		err(2, "load a foreign program");
	return fd;
}

static int attach(int program_fd, unsigned int ifindex, enum bpf_attach_type type)
{
	int fd = bpf_link_create(program_fd, (int)ifindex, type, NULL);

	if (fd < 0)
		err(2, "attach a foreign program");
	return fd;
}

struct foreign *foreign_make(const char *bpffs, const char *shared, const char *other)
{
	struct foreign *f = calloc(1, sizeof(*f));
	const char *const names[] = { "program", "map", "link" };
	struct bpf_prog_info program = { 0 };
	struct bpf_map_info map = { 0 };
	uint32_t size = sizeof(program);
	int tc_fd, xdp_fd, map_fd;

	if (f == NULL)
		err(2, "memory");
	f->shared = if_nametoindex(shared);
	tc_fd = load_program(BPF_PROG_TYPE_SCHED_CLS, -1);
	xdp_fd = load_program(BPF_PROG_TYPE_XDP, XDP_PASS);
	map_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "foreign", 4, 8, 1, NULL);
	f->link_fds[0] = attach(tc_fd, f->shared, BPF_TCX_INGRESS);
	f->link_fds[1] = attach(tc_fd, f->shared, BPF_TCX_EGRESS);
	f->link_fds[2] = attach(xdp_fd, if_nametoindex(other), BPF_XDP);
	if (map_fd < 0 || bpf_prog_get_info_by_fd(tc_fd, &program, &size) < 0)
		err(2, "make a foreign map");
	size = sizeof(map);
	if (bpf_map_get_info_by_fd(map_fd, &map, &size) < 0)
		err(2, "look at a foreign map");
	f->program_id = program.id;
	f->map_id = map.id;
	for (int i = 0; i < 3; i++) {
		const int fds[] = { tc_fd, map_fd, f->link_fds[2] };

		(void)snprintf(f->pins[i], sizeof(f->pins[i]), "%s/foreign_%s", bpffs, names[i]);
		if (bpf_obj_pin(fds[i], f->pins[i]) < 0)
			err(2, "pin %s", f->pins[i]);
	}
	for (int i = 0; i < N_LINKS; i++) {
		size = sizeof(f->links[i]);
		if (bpf_link_get_info_by_fd(f->link_fds[i], &f->links[i], &size) < 0)
			err(2, "look at a foreign link");
	}
	(void)close(tc_fd);
	(void)close(xdp_fd);
	(void)close(map_fd);
	return f;
}

static bool is_in_chain(const struct foreign *f, enum bpf_attach_type type)
{
	LIBBPF_OPTS(bpf_prog_query_opts, query);
	uint32_t ids[64];

	query.prog_ids = ids;
	query.count = 64;
	if (bpf_prog_query_opts((int)f->shared, type, &query) < 0)
		return false;
	for (uint32_t i = 0; i < query.count; i++) {
		if (ids[i] == f->program_id)
			return true;
	}
	return false;
}

static bool pin_is(const char *path, const struct foreign *f, int kind)
{
	int fd = bpf_obj_get(path);
	bool fits = false;

	if (fd >= 0 && kind == 0) {
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info);

		fits = bpf_prog_get_info_by_fd(fd, &info, &size) == 0 && info.id == f->program_id;
	} else if (fd >= 0 && kind == 1) {
		struct bpf_map_info info = { 0 };
		uint32_t size = sizeof(info);

		fits = bpf_map_get_info_by_fd(fd, &info, &size) == 0 && info.id == f->map_id;
	} else if (fd >= 0) {
		struct bpf_link_info info = { 0 };
		uint32_t size = sizeof(info);

		fits = bpf_link_get_info_by_fd(fd, &info, &size) == 0 && info.id == f->links[2].id;
	}
	if (fd >= 0)
		(void)close(fd);
	return fits;
}

bool foreign_is_whole(const struct foreign *f, char *why)
{
	for (int i = 0; i < N_LINKS; i++) {
		struct bpf_link_info info = { 0 };
		uint32_t size = sizeof(info);

		if (bpf_link_get_info_by_fd(f->link_fds[i], &info, &size) < 0 ||
		    info.prog_id != f->links[i].prog_id ||
		    info.xdp.ifindex != f->links[i].xdp.ifindex) {
			(void)snprintf(why, 256, "foreign link %u changed", f->links[i].id);
			return false;
		}
	}
	if (!is_in_chain(f, BPF_TCX_INGRESS) || !is_in_chain(f, BPF_TCX_EGRESS)) {
		(void)snprintf(why, 256, "the foreign tcx program no longer runs");
		return false;
	}
	for (int i = 0; i < 3; i++) {
		if (!pin_is(f->pins[i], f, i)) {
			(void)snprintf(why, 256, "the foreign pin %.200s is not as it was",
				       f->pins[i]);
			return false;
		}
	}
	return true;
}

void foreign_remove(struct foreign *f)
{
	for (int i = 0; i < 3; i++)
		(void)unlink(f->pins[i]);
	for (int i = 0; i < N_LINKS; i++)
		(void)close(f->link_fds[i]);
	free(f);
}
