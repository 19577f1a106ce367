/*
 * packet_count on a real kernel: frames through a veth pair in a namespace of our own, datagrams in
 * a cgroup of our own, and counts that must be exact.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "decode/types.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum hook {
	HOOK_XDP = 1,
	HOOK_TC_INGRESS,
	HOOK_TC_EGRESS,
	HOOK_CGROUP_INGRESS,
	HOOK_CGROUP_EGRESS,
};

enum family {
	FAMILY_OTHER,
	FAMILY_IPV4,
	FAMILY_IPV6,
};

struct counter {
	uint64_t packets;
	uint64_t bytes;
};

struct protocol_key {
	uint32_t hook;
	uint32_t family;
	uint32_t protocol;
};

struct network_key {
	uint32_t prefix_length;
	uint32_t hook;
	uint8_t network[16];
};

static struct bpf_object *load_object(void)
{
	struct bpf_object *object;

	(void)libbpf_set_print(NULL);
	object = bpf_object__open_file(OBJECT, NULL);
	assert_non_null(object);
	assert_int_equal(bpf_object__load(object), 0);
	return object;
}

static int map_fd(struct bpf_object *object, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(object, name);

	assert_true(fd >= 0);
	return fd;
}

/* The sum over all CPUs; zero if there is no such entry. */
static struct counter lookup(struct bpf_object *object, const char *map, const void *key)
{
	int n_cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct counter *cpus = calloc((size_t)n_cpus, sizeof(*cpus));
	struct counter sum = { 0 };

	assert_non_null(cpus);
	if (bpf_map_lookup_elem(map_fd(object, map), key, cpus) != 0)
		return sum;
	if (strcmp(map, "networks") == 0)
		return cpus[0];
	for (int i = 0; i < n_cpus; i++) {
		sum.packets += cpus[i].packets;
		sum.bytes += cpus[i].bytes;
	}
	return sum;
}

static void assert_counter(struct counter counter, uint64_t packets, uint64_t bytes)
{
	assert_int_equal(counter.packets, packets);
	assert_int_equal(counter.bytes, bytes);
}

static struct counter protocol(struct bpf_object *object, enum hook hook, enum family family,
			       uint32_t number)
{
	struct protocol_key key = { hook, family, number };

	return lookup(object, "protocols", &key);
}

static struct counter network(struct bpf_object *object, enum hook hook, const char *address)
{
	struct network_key key = { .prefix_length = 32 + 128, .hook = hook };

	key.network[10] = 0xff;
	key.network[11] = 0xff;
	if (inet_pton(AF_INET, address, key.network + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, address, key.network), 1);
	return lookup(object, "networks", &key);
}

struct globals {
	uint64_t networks_missed;
	uint64_t malformed;
};

static struct globals read_globals(struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".bss");
	uint8_t bytes[64] = { 0 };
	uint32_t zero = 0;
	struct globals globals;

	assert_non_null(map);
	assert_true(bpf_map__value_size(map) <= sizeof(bytes));
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(map), &zero, bytes), 0);
	memcpy(&globals, bytes, sizeof(globals));
	return globals;
}

static void run(const char *command)
{
	int status = system(command); /* NOLINT(cert-env33-c): constant commands */

	if (status != 0)
		fail_msg("'%s' ended with %d", command, status);
}

/* A namespace with a veth pair on which nobody but the test speaks. */
static void enter_namespace(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run("ip link add veth0 type veth peer name veth1");
	run("echo 1 > /proc/sys/net/ipv6/conf/veth0/disable_ipv6");
	run("echo 1 > /proc/sys/net/ipv6/conf/veth1/disable_ipv6");
	run("ip link set lo up");
	run("ip link set veth0 up");
	run("ip link set veth1 up");
	/* Until a device has its queue, somewhat after its carrier, it drops what it should send.
	 */
	run("for i in $(seq 200); do ip link show up | grep -q 'qdisc noop ' || exit 0; "
	    "sleep 0.05; done; exit 1");
}

struct frame {
	size_t n;
	uint8_t bytes[256];
};

static void append(struct frame *frame, const void *bytes, size_t n)
{
	memcpy(frame->bytes + frame->n, bytes, n);
	frame->n += n;
}

static struct frame new_frame(uint16_t ethertype)
{
	struct frame frame = { .n = 12, .bytes = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 } };
	uint16_t raw = htons(ethertype);

	append(&frame, &raw, 2);
	return frame;
}

static void append_ipv4(struct frame *frame, uint8_t number, const char *source,
			const char *destination, size_t n_payload)
{
	uint8_t header[20] = { 0x45, 0, 0, (uint8_t)(20 + n_payload), 0, 0, 0, 0, 64, number };

	assert_int_equal(inet_pton(AF_INET, source, header + 12), 1);
	assert_int_equal(inet_pton(AF_INET, destination, header + 16), 1);
	append(frame, header, sizeof(header));
	frame->n += n_payload;
}

static void append_ipv6(struct frame *frame, uint8_t next, const char *source,
			const char *destination, const void *payload, size_t n_payload)
{
	uint8_t header[40] = { 0x60, [5] = (uint8_t)n_payload, next, 64 };

	assert_int_equal(inet_pton(AF_INET6, source, header + 8), 1);
	assert_int_equal(inet_pton(AF_INET6, destination, header + 24), 1);
	append(frame, header, sizeof(header));
	append(frame, payload, n_payload);
}

static void send_frames(const struct frame *frame, int n)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex("veth0"),
				  .sll_halen = 6 };

	assert_true(fd >= 0);
	memcpy(to.sll_addr, frame->bytes, 6);
	for (int i = 0; i < n; i++)
		assert_int_equal(
			sendto(fd, frame->bytes, frame->n, 0, (struct sockaddr *)&to, sizeof(to)),
			frame->n);
}

/* The frames of the test: 7 + 3 + 5 + 4 + 2 + 6 + 2 + 1 = 30, 27 of them IP. */
static void send_all_frames(void)
{
	static const uint8_t hop_by_hop[] = { 17, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8 };
	static const uint8_t fragment[] = { 60, 0, 0, 8, 0, 0, 0, 1, 17, 0, 0, 0 };
	static const uint8_t tag[] = { 0, 5, 8, 0 };
	struct frame frame;

	frame = new_frame(0x0800);
	append_ipv4(&frame, 17, "10.1.2.3", "10.9.9.9", 20);
	send_frames(&frame, 7);
	frame = new_frame(0x0800);
	append_ipv4(&frame, 1, "10.1.2.250", "10.9.9.9", 40);
	send_frames(&frame, 3);
	frame = new_frame(0x8100);
	append(&frame, tag, sizeof(tag));
	append_ipv4(&frame, 6, "192.0.2.1", "10.9.9.9", 20);
	send_frames(&frame, 5);
	frame = new_frame(0x86dd);
	append_ipv6(&frame, 0, "2001:db8::1", "2001:db8:1::2", hop_by_hop, sizeof(hop_by_hop));
	send_frames(&frame, 4);
	frame = new_frame(0x86dd);
	append_ipv6(&frame, 44, "2001:db8::2", "2001:db8:1::2", fragment, sizeof(fragment));
	send_frames(&frame, 2);
	frame = new_frame(0x86dd);
	append_ipv6(&frame, 6, "2001:db8:0:1::2", "2001:db8:1::2", fragment, 0);
	send_frames(&frame, 6);
	frame = new_frame(0x0806);
	frame.n += 28;
	send_frames(&frame, 2);
	frame = new_frame(0x0800);
	frame.bytes[frame.n] = 0x45;
	frame.n += 10;
	send_frames(&frame, 1);
}

static uint64_t wait_for_total(struct bpf_object *object, enum hook hook, uint64_t packets)
{
	uint64_t deadline = clock_monotonic_ns() + 3 * NS_PER_SEC;
	uint32_t key = hook;
	uint64_t seen;

	do {
		seen = lookup(object, "totals", &key).packets;
	} while (seen < packets && clock_monotonic_ns() < deadline && usleep(1000) == 0);
	return seen;
}

static void assert_frames_counted(struct bpf_object *object, enum hook hook)
{
	bool in = hook != HOOK_TC_EGRESS;
	uint32_t key = hook;

	assert_int_equal(wait_for_total(object, hook, 30), 30);
	assert_counter(lookup(object, "totals", &key), 30,
		       7 * 54 + 3 * 74 + 5 * 58 + 4 * 70 + 2 * 66 + 6 * 54 + 2 * 42 + 24);
	assert_counter(protocol(object, hook, FAMILY_IPV4, 17), 7, 7 * 54);
	assert_counter(protocol(object, hook, FAMILY_IPV4, 1), 3, 3 * 74);
	assert_counter(protocol(object, hook, FAMILY_IPV4, 6), 5, 5 * 58);
	assert_counter(protocol(object, hook, FAMILY_IPV6, 17), 4, 4 * 70);
	assert_counter(protocol(object, hook, FAMILY_IPV6, 60), 2, 2 * 66);
	assert_counter(protocol(object, hook, FAMILY_IPV6, 6), 6, 6 * 54);
	assert_counter(protocol(object, hook, FAMILY_OTHER, 255), 3, 2 * 42 + 24);
	if (in) {
		assert_counter(network(object, hook, "10.1.2.77"), 10, 7 * 54 + 3 * 74);
		assert_counter(network(object, hook, "192.0.2.9"), 5, 5 * 58);
		assert_counter(network(object, hook, "2001:db8::99"), 6, 4 * 70 + 2 * 66);
		assert_counter(network(object, hook, "2001:db8:0:1::"), 6, 6 * 54);
		assert_counter(network(object, hook, "10.9.9.9"), 0, 0);
	} else {
		assert_counter(network(object, hook, "10.9.9.1"), 15, 7 * 54 + 3 * 74 + 5 * 58);
		assert_counter(network(object, hook, "2001:db8:1::9"), 12,
			       4 * 70 + 2 * 66 + 6 * 54);
	}
	assert_int_equal(read_globals(object).networks_missed, 0);
}

static struct bpf_program *program(struct bpf_object *object, const char *name)
{
	struct bpf_program *found = bpf_object__find_program_by_name(object, name);

	assert_non_null(found);
	return found;
}

static void xdp_and_tc_hooks_count_every_frame_at_once(void **state)
{
	struct bpf_object *object = load_object();
	struct bpf_link *links[3];
	int veth0, veth1;

	(void)state;
	enter_namespace();
	veth0 = (int)if_nametoindex("veth0");
	veth1 = (int)if_nametoindex("veth1");
	links[0] = bpf_program__attach_xdp(program(object, "count_xdp"), veth1);
	links[1] = bpf_program__attach_tcx(program(object, "count_tc_ingress"), veth1, NULL);
	links[2] = bpf_program__attach_tcx(program(object, "count_tc_egress"), veth0, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		assert_non_null(links[i]);
	send_all_frames();
	assert_frames_counted(object, HOOK_XDP);
	assert_frames_counted(object, HOOK_TC_INGRESS);
	assert_frames_counted(object, HOOK_TC_EGRESS);
	assert_int_equal(read_globals(object).malformed, 3);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		assert_int_equal(bpf_link__destroy(links[i]), 0);
	bpf_object__close(object);
}

static void tc_programs_work_as_clsact_classifiers(void **state)
{
	struct bpf_object *object = load_object();
	struct bpf_tc_hook hook = { .sz = sizeof(hook), .attach_point = BPF_TC_INGRESS };
	struct bpf_tc_opts opts = { .sz = sizeof(opts) };

	(void)state;
	enter_namespace();
	hook.ifindex = (int)if_nametoindex("veth1");
	opts.prog_fd = bpf_program__fd(program(object, "count_tc_ingress"));
	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	send_all_frames();
	assert_frames_counted(object, HOOK_TC_INGRESS);
	bpf_object__close(object);
}

static void a_full_network_map_is_counted_as_misses(void **state)
{
	struct bpf_object *object;
	struct bpf_link *link;

	(void)state;
	(void)libbpf_set_print(NULL);
	object = bpf_object__open_file(OBJECT, NULL);
	assert_non_null(object);
	assert_int_equal(
		bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "networks"), 2), 0);
	assert_int_equal(bpf_object__load(object), 0);
	enter_namespace();
	link = bpf_program__attach_xdp(program(object, "count_xdp"), (int)if_nametoindex("veth1"));
	assert_non_null(link);
	send_all_frames();
	assert_int_equal(wait_for_total(object, HOOK_XDP, 30), 30);
	assert_counter(network(object, HOOK_XDP, "10.1.2.3"), 10, 7 * 54 + 3 * 74);
	assert_counter(network(object, HOOK_XDP, "192.0.2.1"), 5, 5 * 58);
	assert_int_equal(read_globals(object).networks_missed, 12);
	assert_int_equal(bpf_link__destroy(link), 0);
	bpf_object__close(object);
}

static void write_pid(const char *folder)
{
	char path[256];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fprintf(file, "%d", getpid()) > 0);
	assert_int_equal(fclose(file), 0);
}

static const char *cgroup_root(void)
{
	return access(CGROUP_ROOT "/unified/cgroup.procs", F_OK) == 0 ? CGROUP_ROOT "/unified"
								      : CGROUP_ROOT;
}

static void send_datagrams(int family, const struct sockaddr *to, socklen_t n_to, int n)
{
	_cleanup_close_ int receiver = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int sender = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char buffer[32];

	assert_int_equal(bind(receiver, to, n_to), 0);
	for (int i = 0; i < n; i++) {
		assert_int_equal(sendto(sender, "0123456789", 10, 0, to, n_to), 10);
		assert_int_equal(recv(receiver, buffer, sizeof(buffer), 0), 10);
	}
}

static uint32_t type_id(struct bpf_object *object, const char *name)
{
	int id = btf__find_by_name_kind(bpf_object__btf(object), name, BTF_KIND_STRUCT);

	assert_true(id > 0);
	return (uint32_t)id;
}

/* An entry of `networks` as a reader of the bundle sees it. */
static void assert_network_shown(struct bpf_object *object, const char *text, const char *shown)
{
	static char path[] = "key.network";
	Bpfleet__V1__Display row = BPFLEET__V1__DISPLAY__INIT, *rows[] = { &row };
	struct decoder_options options = { .key_type_id = type_id(object, "network_key"),
					   .value_type_id = type_id(object, "counter"),
					   .key_size = sizeof(struct network_key),
					   .value_size = sizeof(struct counter),
					   .display = rows,
					   .n_display = 1,
					   .strict = true };
	struct decoder *decoder = NULL;
	struct counter counter;
	struct str json = { 0 };
	uint8_t key[sizeof(struct network_key)];
	uint32_t n;

	row.path = path;
	row.format = BPFLEET__V1__FORMAT__FORMAT_CIDR;
	options.btf = btf__raw_data(bpf_object__btf(object), &n);
	options.n_btf = n;
	assert_int_equal(decoder_new(&options, &decoder, NULL), 0);
	assert_int_equal(decoder_parse(decoder, DECODER_KEY, text, key, sizeof(key), NULL), 0);
	assert_int_equal(bpf_map_lookup_elem(map_fd(object, "networks"), key, &counter), 0);
	assert_int_equal(decoder_entry_json(decoder, key, (const uint8_t *)&counter, &json), 0);
	assert_string_equal(json.data, shown);
	str_done(&json);
	decoder_free(decoder);
}

static void cgroup_hooks_count_what_a_cgroup_sends_and_receives(void **state)
{
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6,
				    .sin6_port = htons(4000),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in to4 = { .sin_family = AF_INET,
				   .sin_port = htons(4000),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct bpf_object *object = load_object();
	struct bpf_link *in, *out;
	char folder[128];
	int fd;

	(void)state;
	enter_namespace();
	(void)snprintf(folder, sizeof(folder), "%s/bpfleet-packet-count-%d", cgroup_root(),
		       getpid());
	assert_int_equal(mkdir(folder, 0700), 0);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	in = bpf_program__attach_cgroup(program(object, "count_cgroup_ingress"), fd);
	out = bpf_program__attach_cgroup(program(object, "count_cgroup_egress"), fd);
	assert_non_null(in);
	assert_non_null(out);
	write_pid(folder);
	send_datagrams(AF_INET, (struct sockaddr *)&to4, sizeof(to4), 9);
	send_datagrams(AF_INET6, (struct sockaddr *)&to6, sizeof(to6), 11);
	write_pid(cgroup_root());
	for (uint32_t hook = HOOK_CGROUP_INGRESS; hook <= HOOK_CGROUP_EGRESS; hook++) {
		assert_counter(lookup(object, "totals", &hook), 20, 9 * 38 + 11 * 58);
		assert_counter(protocol(object, hook, FAMILY_IPV4, 17), 9, 9 * 38);
		assert_counter(protocol(object, hook, FAMILY_IPV6, 17), 11, 11 * 58);
		assert_counter(network(object, hook, "127.0.0.200"), 9, 9 * 38);
		assert_counter(network(object, hook, "::77"), 11, 11 * 58);
	}
	assert_network_shown(object, "hook=cgroup_egress network=127.0.0.0/24",
			     "{\"key\":{\"hook\":\"cgroup_egress\",\"network\":\"127.0.0.0/24\"},"
			     "\"value\":{\"packets\":9,\"bytes\":342}}");
	assert_int_equal(bpf_link__destroy(in), 0);
	assert_int_equal(bpf_link__destroy(out), 0);
	(void)close(fd);
	assert_int_equal(rmdir(folder), 0);
	bpf_object__close(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xdp_and_tc_hooks_count_every_frame_at_once),
		cmocka_unit_test(tc_programs_work_as_clsact_classifiers),
		cmocka_unit_test(a_full_network_map_is_counted_as_misses),
		cmocka_unit_test(cgroup_hooks_count_what_a_cgroup_sends_and_receives),
	};

	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: needs root to load BPF programs\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
