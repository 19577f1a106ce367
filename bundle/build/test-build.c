#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "bundle/build/build.h"
#include "bundle/build/diff.h"
#include "bundle/build/infer.h"
#include "bundle/format.h"
#include "bundle/test-file.h"
#include "proto/arena.h"

#define THREE_LINES "name: sample\nversion: 1.2.3\nobjects: [sample.bpf.o]\n"

static const char *objects; /* folder of the compiled objects */

static int build(const char *yaml, uint8_t **ret, size_t *ret_n, struct error *err)
{
	struct build_object list[2] = { { .path = (char *)"sample.bpf.o" },
					{ .path = (char *)"foreign.bpf.o" } };
	int r;

	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *path = NULL;
		struct test_file file;

		assert_true(asprintf(&path, "%s/%s", objects, list[i].path) > 0);
		file = test_read(path);
		list[i].elf = file.data;
		list[i].size = file.size;
	}
	r = bundle_build_from_memory("bundle.yaml", yaml, strlen(yaml), list, 2, ret, ret_n, err);
	free(list[0].elf);
	free(list[1].elf);
	return r;
}

/* Builds and parses as a host does; the bundle lives in the arena. */
static Bpfleet__V1__Bundle *built(struct arena *arena, const char *yaml)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	Bpfleet__V1__Bundle *bundle = NULL;
	struct error err = { 0 };
	size_t n;

	if (build(yaml, &bytes, &n, &err) < 0 || bundle_parse(arena, bytes, n, &bundle, &err) < 0)
		fail_msg("%s", err.message);
	return bundle;
}

static void expect_error(const char *yaml, const char *words)
{
	struct error err = { 0 };
	uint8_t *bytes = NULL;
	size_t n;

	if (build(yaml, &bytes, &n, &err) == 0)
		fail_msg("accepted: %s", yaml);
	if (strstr(err.message, words) == NULL)
		fail_msg("expected '%s': %s", words, err.message);
	assert_null(bytes);
}

static void programs_types_and_hooks_come_from_the_sections(void **state)
{
	static const struct {
		const char *name, *type, *hook;
		size_t n_defaults;
	} expected[] = {
		{ "count_xdp", "xdp", "xdp:*", 0 },
		{ "count_tc", "sched_cls", "tc:*", 0 },
		{ "count_tcx", "sched_cls", "tc:*:egress", 0 },
		{ "count_cgroup", "cgroup_skb", "cgroup_skb:*:egress", 0 },
		{ "on_exec", "tracepoint", "tracepoint:sched:sched_process_exec", 1 },
		{ "on_enter", "raw_tracepoint", "raw_tp:sys_enter", 1 },
		{ "on_switch", "tracing", "tp_btf:sched_switch", 1 },
		{ "on_readline", "kprobe", "uprobe:/usr/bin/bash:readline", 1 },
	};
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	Bpfleet__V1__Bundle *bundle = built(arena, THREE_LINES);

	(void)state;
	assert_int_equal(bundle->manifest->n_programs, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const Bpfleet__V1__ProgramSpec *program =
			manifest_program(bundle->manifest, expected[i].name);

		assert_non_null(program);
		assert_string_equal(program->object, "sample");
		assert_string_equal(program->type, expected[i].type);
		assert_int_equal(program->n_hooks, 1);
		assert_string_equal(program->hooks[0], expected[i].hook);
		assert_int_equal(program->n_default_hooks, expected[i].n_defaults);
		assert_int_equal(program->need, BPFLEET__V1__NEED__NEED_REQUIRED);
	}
}

static void section_names_of_old_and_new_style_are_understood(void **state)
{
	static const char *const rows[][2] = {
		{ "xdp", "xdp:*" },
		{ "xdp/old_name", "xdp:*" },
		{ "xdp.frags", "xdp:*" },
		{ "?xdp", "xdp:*" },
		{ "tc/ingress", "tc:*:ingress" },
		{ "tcx/ingress", "tc:*:ingress" },
		{ "classifier/acl", "tc:*" },
		{ "cgroup/skb", "cgroup_skb:*" },
		{ "tp/syscalls/sys_enter_openat", "tracepoint:syscalls:sys_enter_openat" },
		{ "tracepoint", "tracepoint:*" },
		{ "raw_tracepoint/sched_switch", "raw_tp:sched_switch" },
		{ "uprobe", "uprobe:*" },
		{ "uprobe.multi", "uprobe:*" },
		{ "uprobe/libc.so.6:malloc", "uprobe:*:malloc" },
		{ "uprobe//bin/a=b:main+0x10", "uprobe:/bin/a%3Db:main+0x10" },
		{ "xdp/devmap", NULL },
		{ "xdp.frags/devmap", NULL },
		{ "xdp.frags/cpumap", NULL },
		{ "fentry/do_exit", "fentry:do_exit" },
		{ "fexit.s/do_exit", "fexit:do_exit" },
		{ "fmod_ret/security_file_open", "fmod_ret:security_file_open" },
		{ "fentry", NULL },
		{ "lsm.s/file_open", "lsm:file_open" },
		{ "iter/task", "iter:task" },
		{ "kprobe/do_exit", "kprobe:do_exit" },
		{ "kretprobe", "kretprobe:*" },
		{ "ksyscall/getpid", "ksyscall:getpid" },
		{ "kprobe.multi/tcp_*_rcv", "kprobe_multi:tcp_*_rcv" },
		{ "kretprobe.multi", "kretprobe_multi:*" },
		{ "kprobe.session/tcp_*", "kprobe_session:tcp_*" },
		{ "uprobe.session//bin/sh:main", "uprobe_session:/bin/sh:main" },
		{ "uprobe.session.s", "uprobe_session:*" },
		{ "perf_event", "perf_event:*" },
		{ "usdt//lib/x.so:libc:setjmp", "usdt:/lib/x.so:libc:setjmp" },
		{ "usdt/libc.so.6:libc:setjmp", "usdt:*:libc:setjmp" },
		{ "lsm_cgroup/socket_bind", "lsm_cgroup:*:socket_bind" },
		{ "usdt", "usdt:*" },
		{ "struct_ops/init", "struct_ops:*" },
		{ "raw_tp.w/bpf_test_finish", "raw_tp:bpf_test_finish" },
		{ "uretprobe//bin/sh:main", "uretprobe:/bin/sh:main" },
		{ "netkit/peer", "netkit:*:peer" },
		{ "cgroup/sock", "cgroup_sock:*:create" },
		{ "cgroup/post_bind6", "cgroup_sock:*:post_bind6" },
		{ "cgroup/connect4", "cgroup_sock_addr:*:connect4" },
		{ "cgroup/getpeername_unix", "cgroup_sock_addr:*:getpeername_unix" },
		{ "cgroup/no_such_call", NULL },
		{ "cgroup/setsockopt", "cgroup_sockopt:*:set" },
		{ "cgroup/dev", "cgroup_device:*" },
		{ "cgroup/sysctl", "cgroup_sysctl:*" },
		{ "sockops", "sock_ops:*" },
		{ "sk_lookup", "sk_lookup:*" },
		{ "flow_dissector", "flow_dissector:*" },
		{ "netfilter", "netfilter:*" },
		{ "sk_skb", "sk_skb:*" },
		{ "sk_skb/stream_verdict", "sk_skb:*:stream_verdict" },
		{ "sk_msg", "sk_msg:*" },
		{ "socket", "socket_filter:*" },
		{ "sk_reuseport", "sk_reuseport:*" },
		{ "sk_reuseport/migrate", "sk_reuseport:*" },
		{ "freplace/f", NULL },
		{ "prog", NULL },
	};
	_cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *hook = infer_hook(arena, rows[i][0]);

		if (rows[i][1] == NULL)
			assert_null(hook);
		else if (hook == NULL || strcmp(hook, rows[i][1]) != 0)
			fail_msg("%s: %s", rows[i][0], hook != NULL ? hook : "(none)");
	}
}

static void maps_are_private_and_shaped_as_declared(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	Bpfleet__V1__Bundle *bundle = built(arena, THREE_LINES);
	const Bpfleet__V1__MapSpec *flows = manifest_map(bundle->manifest, "flows");

	(void)state;
	assert_non_null(flows);
	assert_string_equal(flows->type, "hash");
	assert_int_equal(flows->key_size, 12);
	assert_int_equal(flows->value_size, 40);
	assert_int_equal(flows->max_entries, 128);
	assert_string_equal(manifest_map(bundle->manifest, "counts")->type, "percpu_array");
	assert_string_equal(manifest_map(bundle->manifest, "events")->type, "ringbuf");
	assert_non_null(manifest_map(bundle->manifest, ".bss"));
	assert_non_null(manifest_map(bundle->manifest, ".rodata"));
	for (size_t i = 0; i < bundle->manifest->n_maps; i++)
		assert_int_equal(bundle->manifest->maps[i]->access,
				 BPFLEET__V1__ACCESS__ACCESS_PRIVATE);
}

static void parameters_are_the_const_volatile_variables(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	Bpfleet__V1__Bundle *bundle = built(arena, THREE_LINES);
	static const struct {
		const char *name;
		Bpfleet__V1__ParameterType type;
		uint32_t size;
	} expected[] = {
		{ "limit", BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED, 4 },
		{ "offset", BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED, 2 },
		{ "verbose", BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL, 1 },
		{ "device", BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING, 16 },
		{ "peer", BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED, 4 },
		{ "level", BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED, 4 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const Bpfleet__V1__ParameterSpec *spec =
			manifest_parameter(bundle->manifest, expected[i].name);

		assert_non_null(spec);
		assert_int_equal(spec->type, expected[i].type);
		assert_int_equal(spec->size_bytes, expected[i].size);
	}
	assert_int_equal(bundle->manifest->n_parameters, ARRAY_SIZE(expected));
	assert_null(manifest_parameter(bundle->manifest, "table"));
	assert_null(manifest_parameter(bundle->manifest, "pair"));
}

static const char full[] =
	"name: sample\n"
	"version: 1.2.3\n"
	"description: everything\n"
	"requirements: {min_kernel: '6.1'}\n"
	"expires_at: 2027-01-31T00:00:00Z\n"
	"obsoletes_below: 1.0.0\n"
	"default_access: read\n"
	"objects:\n"
	"  - {name: main, file: sample.bpf.o}\n"
	"programs:\n"
	"  count_xdp: {hooks: ['xdp:veth*', 'xdp:eth0,mode=generic'], default_hooks: "
	"['xdp:veth0']}\n"
	"  count_tc: {need: optional}\n"
	"  on_exec: {fallback: exec}\n"
	"  on_switch: {fallback: exec, default_hooks: []}\n"
	"  on_readline: {skip: true}\n"
	"maps:\n"
	"  flows:\n"
	"    access: write\n"
	"    contents: durable\n"
	"    display: {key.addr: ipv4, key.mac: mac, value.source.port: big_endian, value.v6: ip}\n"
	"  events:\n"
	"    display: {event.flow.source.addr: ipv4, event.comm: string}\n"
	"    events: {type: event, drops: dropped}\n"
	"  .bss: {display: {value.hits: hex}}\n"
	"parameters:\n"
	"  limit: {default: 9, min: 1, max: 10, description: how many}\n"
	"  address: {type: ipv6, required: true}\n"
	"  peer: {type: ipv4, default: 10.0.0.1}\n"
	"  verbose: {skip: true}\n";

static void yaml_adds_what_objects_cannot_tell(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	const Bpfleet__V1__Manifest *manifest = built(arena, full)->manifest;
	const Bpfleet__V1__MapSpec *events = manifest_map(manifest, "events");

	(void)state;
	assert_string_equal(manifest->description, "everything");
	assert_string_equal(manifest->requirements->min_kernel, "6.1");
	assert_true(manifest->expires_at_ns == UINT64_C(1801353600) * 1000000000);
	assert_int_equal(manifest->obsoletes_below->major, 1);
	assert_string_equal(manifest_program(manifest, "count_xdp")->hooks[1],
			    "xdp:eth0,mode=generic");
	assert_string_equal(manifest_program(manifest, "count_xdp")->default_hooks[0], "xdp:veth0");
	assert_int_equal(manifest_program(manifest, "count_tc")->need,
			 BPFLEET__V1__NEED__NEED_OPTIONAL);
	assert_string_equal(manifest_program(manifest, "on_exec")->fallback_group, "exec");
	assert_int_equal(manifest_program(manifest, "on_switch")->n_default_hooks, 0);
	assert_null(manifest_program(manifest, "on_readline"));
	assert_int_equal(manifest->objects[0]->n_skipped_programs, 1);
	assert_string_equal(manifest->objects[0]->skipped_programs[0], "on_readline");
	assert_int_equal(manifest_map(manifest, "flows")->contents,
			 BPFLEET__V1__CONTENTS__CONTENTS_DURABLE);
	assert_int_equal(manifest_map(manifest, "flows")->n_display, 4);
	assert_int_equal(manifest_map(manifest, "counts")->access,
			 BPFLEET__V1__ACCESS__ACCESS_READ);
	assert_string_equal(events->events->record_type, "event");
	assert_string_equal(events->events->drop_counter, "dropped");
	assert_string_equal(manifest_parameter(manifest, "peer")->default_value, "10.0.0.1");
	assert_true(manifest_parameter(manifest, "address")->required);
	assert_null(manifest_parameter(manifest, "verbose"));
}

static bool has_line(const struct bundle_diff *diff, const char *line)
{
	for (size_t i = 0; i < diff->n_differences; i++) {
		_cleanup_free_ char *text = bundle_difference_text(&diff->differences[i]);

		assert_non_null(text);
		if (strcmp(text, line) == 0)
			return true;
	}
	return false;
}

static void yaml_says_what_records_of_several_structs_are(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	const Bpfleet__V1__EventSpec *events;

	(void)state;
	events = manifest_map(built(arena,
				    THREE_LINES "maps: {events: {events: {tag: pid, variants: "
						"{7: event, 0x8: event}},\n"
						"  display: {event.pid: hex}}}\n")
				      ->manifest,
			      "events")
			 ->events;
	assert_string_equal(events->tag, "pid");
	assert_string_equal(events->record_type, "");
	assert_int_equal(events->n_variants, 2);
	assert_int_equal(events->variants[1]->tag, 8);
	assert_string_equal(events->variants[1]->record_type, "event");
}

static void a_diff_shows_records_of_several_structs(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(2 * BUNDLE_ARENA_LIMIT);
	const Bpfleet__V1__Manifest *one =
		built(arena, THREE_LINES "maps: {events: {events: {type: event}}}\n")->manifest;
	const Bpfleet__V1__Manifest *several =
		built(arena, THREE_LINES
		      "maps: {events: {events: {tag: pid, variants: {1: event, 2: event}}}}\n")
			->manifest;
	_cleanup_(bundle_diff_freep) struct bundle_diff *diff = NULL;

	(void)state;
	assert_int_equal(bundle_diff_new(one, several, &diff, NULL), 0);
	assert_int_equal(diff->n_differences, 1);
	assert_true(has_line(diff, "~ map events: events: record_type=event, drop_counter=, tag=, "
				   "variants= -> record_type=, drop_counter=, tag=pid, "
				   "variants=[tag=1, record_type=event; tag=2, "
				   "record_type=event]"));
}

static void yaml_says_what_an_upgrade_does(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	const Bpfleet__V1__MapSpec *map;
	Bpfleet__V1__Bundle *bundle;

	(void)state;
	bundle = built(arena, THREE_LINES
		       "maps:\n"
		       "  flows: {upgrade: migrate, merge: {seen_at: max, source: newest}}\n"
		       "  .bss: {upgrade: migrate, merge: {hits: sum, dropped: reset}}\n"
		       "  counts: {upgrade: migrate, merge: {value: sum}}\n");
	map = manifest_map(bundle->manifest, "flows");
	assert_int_equal(map->upgrade, BPFLEET__V1__UPGRADE__UPGRADE_MIGRATE);
	assert_int_equal(map->n_merge, 2);
	assert_string_equal(map->merge[0]->path, "seen_at");
	assert_int_equal(map->merge[0]->rule, BPFLEET__V1__MERGE__MERGE_MAX);
	assert_int_equal(manifest_map(bundle->manifest, ".bss")->merge[1]->rule,
			 BPFLEET__V1__MERGE__MERGE_RESET);
	expect_error(THREE_LINES "maps: {flows: {upgrade: migrat}}\n", "'migrate'");
	expect_error(THREE_LINES "maps: {flows: {merge: {seen_at: max}}}\n",
		     "goes only with upgrade migrate");
	expect_error(THREE_LINES "maps: {flows: {upgrade: migrate, merge: {seen: max}}}\n",
		     "no member 'seen'");
	expect_error(THREE_LINES "maps: {flows: {upgrade: migrate, merge: {source: sum}}}\n",
		     "no integer of 4 or 8 bytes");
	expect_error(THREE_LINES "maps: {flows: {upgrade: migrate, merge: {source.port: sum}}}\n",
		     "no integer of 4 or 8 bytes");
	expect_error(THREE_LINES "maps: {flows: {upgrade: migrate, merge: {seen_at: mean}}}\n",
		     "unknown value 'mean'");
}

#define METRIC(name, type, map, rest)                                                   \
	THREE_LINES                                                                     \
	"maps: {flows: {access: read}, counts: {access: read}, .bss: {access: read}}\n" \
	"metrics:\n  - {name: " name ", help: x, type: " type ", map: " map ", " rest "}\n"

static void yaml_says_what_becomes_a_metric(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	const Bpfleet__V1__MetricSpec *metric;

	(void)state;
	metric = built(arena, METRIC("seen", "gauge", "flows",
				     "value: value.seen_at, labels: {mac: key.mac, all: key}"))
			 ->manifest->metrics[0];
	assert_string_equal(metric->name, "seen");
	assert_int_equal(metric->type, BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_GAUGE);
	assert_int_equal(metric->n_labels, 2);
	assert_string_equal(metric->labels[0]->key, "key.mac");
	metric = built(arena, METRIC("hits", "histogram", ".bss", "value: value.hits"))
			 ->manifest->metrics[0];
	assert_int_equal(metric->type, BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_HISTOGRAM);
	(void)built(arena, METRIC("n_total", "counter", "counts", "value: value"));
	expect_error(METRIC("hits", "gauge", ".bss", "value: value.hits"), "is no number");
	expect_error(METRIC("drops", "histogram", ".bss", "value: value.dropped"),
		     "no array of at most 64 numbers");
	expect_error(METRIC("flow", "gauge", "flows", "value: value.source"), "is no number");
	expect_error(METRIC("flow", "gauge", "flows", "value: value.seen"), "no member 'seen'");
	expect_error(METRIC("flow", "gauge", "flows", "value: value.seen_at, labels: {a: key.b}"),
		     "no member 'b'");
	expect_error(METRIC("n", "counter", "counts", "value: value"), "_total");
	expect_error(METRIC("n", "summary", "counts", "value: value"), "'summary'");
	expect_error(METRIC("n", "gauge", "count", "value: value"), "no map 'count'");
}

static void the_same_input_gives_the_same_bytes(void **state)
{
	_cleanup_free_ uint8_t *a = NULL, *b = NULL;
	size_t n_a, n_b;

	(void)state;
	assert_int_equal(build(full, &a, &n_a, NULL), 0);
	assert_int_equal(build(full, &b, &n_b, NULL), 0);
	assert_int_equal(n_a, n_b);
	assert_memory_equal(a, b, n_a);
}

static void mistakes_are_named_with_line_and_guess(void **state)
{
	(void)state;
	expect_error("", "empty");
	expect_error("name: [", "bundle.yaml:");
	expect_error("name: sample\nversion: 1.2.3\nprogams: {}\n",
		     "bundle.yaml:3: unknown key 'progams'; "
		     "did you mean 'programs'?");
	expect_error("name: sample\nname: other\n", "bundle.yaml:2: 'name' is there twice");
	expect_error("name: Sample\n", "bundle.yaml:1");
	expect_error("version: 1.2.3\nobjects: [sample.bpf.o]\n", "'name' is missing");
	expect_error("name: a\nobjects: [sample.bpf.o]\n", "'version' is missing");
	expect_error("name: a\nversion: 1.2\n", "MAJOR.MINOR.PATCH");
	expect_error("name: a\nversion: 1.2.3\n", "'objects' is missing");
	expect_error("name: a\nversion: 1.2.3\nobjects: [none.bpf.o]\n", "none.bpf.o");
	expect_error(THREE_LINES "expires_at: tomorrow\n", "not a time in UTC");
	expect_error(THREE_LINES "default_access: write\n", "unknown value 'write'");
}

static void mistakes_about_programs_are_refused(void **state)
{
	(void)state;
	expect_error(THREE_LINES "programs:\n  count_xpd: {}\n",
		     "bundle.yaml:5: the objects hold no program 'count_xpd'; did you mean "
		     "'count_xdp'?");
	expect_error(THREE_LINES "programs: {count_xdp: {hooks: ['xdq:*']}}\n",
		     "did you mean 'xdp'");
	expect_error(THREE_LINES "programs: {count_xdp: {hooks: ['tc:*']}}\n", "type 'xdp'");
	expect_error(THREE_LINES "programs: {count_xdp: {need: maybe}}\n", "unknown value 'maybe'");
	expect_error(THREE_LINES "programs: {on_exec: {default_hooks: ['tracepoint:sched:*']}}\n",
		     "patterns");
	expect_error(THREE_LINES "programs: {count_xdp: {fallback: g, need: optional}}\n",
		     "no other need");
	expect_error(THREE_LINES "programs: {count_xdp: {fallback: g}}\n", "no second program");
	expect_error(THREE_LINES "programs: [count_xdp]\n", "expected a mapping");
}

static void mistakes_about_maps_and_parameters_are_refused(void **state)
{
	(void)state;
	expect_error(THREE_LINES "maps: {flow: {access: read}}\n", "did you mean 'flows'?");
	expect_error(THREE_LINES "maps: {flows: {acces: read}}\n", "did you mean 'access'?");
	expect_error(THREE_LINES "maps: {flows: {contents: durable}}\n", "only with access write");
	expect_error(THREE_LINES "maps: {flows: {events: {type: event}}}\n", "only a ringbuf");
	expect_error(THREE_LINES "maps: {events: {events: {tag: pid}}}\n",
		     "a tag and the variants");
	expect_error(THREE_LINES "maps: {events: {events: {variants: {1: event}}}}\n",
		     "a tag and the variants");
	expect_error(THREE_LINES
		     "maps: {events: {events: {tag: pid, type: event, variants: {1: event}}}}\n",
		     "a tag and the variants");
	expect_error(THREE_LINES "maps: {events: {events: {tag: uid, variants: {1: event}}}}\n",
		     "no integer or enum 'uid'");
	expect_error(THREE_LINES "maps: {events: {events: {tag: pid, variants: {1: nothing}}}}\n",
		     "no 'struct nothing'");
	expect_error(THREE_LINES "maps: {events: {events: {tag: pid, variants: {one: event}}}}\n",
		     "no value of the tag");
	expect_error(THREE_LINES
		     "maps: {events: {events: {tag: pid, variants: {4294967296: event}}}}\n",
		     "no value of the tag");
	expect_error(THREE_LINES
		     "maps: {events: {events: {tag: pid, variants: {1: event, 0x1: event}}}}\n",
		     "tag 1 is there twice");
	expect_error(THREE_LINES "maps: {events: {events: {type: evnt}}}\n", "no 'struct evnt'");
	expect_error(THREE_LINES "maps: {events: {events: {drops: hits}}}\n", "8 bytes");
	expect_error(THREE_LINES "maps: {flows: {display: {key.adr: ipv4}}}\n", "no member 'adr'");
	expect_error(THREE_LINES "maps: {flows: {display: {key.port: ipv4}}}\n", "size");
	expect_error(THREE_LINES "maps: {flows: {display: {key.addr: ipv5}}}\n",
		     "did you mean 'ipv4'");
	expect_error(THREE_LINES "maps: {flows: {display: {addr: ipv4}}}\n", "not a path");
	expect_error(THREE_LINES "parameters: {limits: {default: 1}}\n", "did you mean 'limit'?");
	expect_error(THREE_LINES "parameters: {limit: {default: 1, max: 0}}\n", "limit");
	expect_error(THREE_LINES "parameters: {pair: {default: 1}}\n", "type");
	expect_error(THREE_LINES "parameters: {limit: {type: ipv6}}\n", "size");
}

static void a_program_without_a_hook_must_be_left_out_on_purpose(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	Bpfleet__V1__Bundle *bundle;

	(void)state;
	expect_error("name: foreign\nversion: 1.0.0\nobjects: [foreign.bpf.o]\n",
		     "programs: {on_do_exit: {skip: true}}");
	expect_error("name: foreign\nversion: 1.0.0\nobjects: [foreign.bpf.o]\n",
		     "call what shall change through a program array");
	bundle = built(arena, "name: foreign\nversion: 1.0.0\nobjects: [foreign.bpf.o]\n"
			      "programs: {on_do_exit: {skip: true}}\n");
	assert_int_equal(bundle->manifest->n_programs, 1);
	assert_string_equal(bundle->manifest->programs[0]->name, "on_sys_exit");
}

static void an_object_that_is_no_bpf_elf_is_refused(void **state)
{
	static const char yaml[] = "name: a\nversion: 1.0.0\nobjects: [o]\n";
	struct build_object object = { (char *)"o", (uint8_t *)"not an ELF file", 15 };
	struct error err = { 0 };
	uint8_t *bytes;
	size_t n;

	(void)state;
	assert_true(bundle_build_from_memory("y", yaml, strlen(yaml), &object, 1, &bytes, &n,
					     &err) < 0);
	assert_int_equal(err.code, ERROR_OBJECT_MALFORMED);
}

static void files_are_read_beside_the_yaml_or_from_a_folder(void **state)
{
	char folder[] = "/tmp/bpfleet-build-XXXXXX", path[128];
	_cleanup_free_ uint8_t *bytes = NULL;
	struct error err = { 0 };
	size_t n;

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/bundle.yaml", folder);
	test_write(path, THREE_LINES, strlen(THREE_LINES));
	assert_true(bundle_build(path, NULL, &bytes, &n, &err) < 0);
	assert_int_equal(err.code, ERROR_IO);
	assert_int_equal(bundle_build(path, objects, &bytes, &n, NULL), 0);
	assert_true(n > BUNDLE_HEADER_LEN);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void a_diff_names_every_difference(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(4 * BUNDLE_ARENA_LIMIT);
	const Bpfleet__V1__Manifest *a = built(arena, THREE_LINES)->manifest;
	const Bpfleet__V1__Manifest *b =
		built(arena,
		      "name: sample\nversion: 1.3.0\nobjects: [sample.bpf.o]\n"
		      "programs: {count_xdp: {hooks: ['xdp:eth0']}, count_tc: {skip: true}}\n"
		      "maps: {flows: {access: read, display: {key.addr: ipv4}}}\n"
		      "parameters: {limit: {max: 10}}\n")
			->manifest;
	_cleanup_(bundle_diff_freep) struct bundle_diff *diff = NULL, *none = NULL, *back = NULL;
	const Bpfleet__V1__Manifest *sum =
		built(arena,
		      THREE_LINES "maps: {flows: {upgrade: migrate, merge: {seen_at: sum}}}\n")
			->manifest;
	const Bpfleet__V1__Manifest *max =
		built(arena,
		      THREE_LINES "maps: {flows: {upgrade: migrate, merge: {seen_at: max}}}\n")
			->manifest;
	_cleanup_(bundle_diff_freep) struct bundle_diff *added = NULL, *changed = NULL;
	static const char *const lines[] = {
		"~ bundle: version: 1.2.3 -> 1.3.0",
		"+ object sample: skipped_programs: count_tc",
		"- program count_tc",
		"- program count_xdp: hooks: xdp:*",
		"+ program count_xdp: hooks: xdp:eth0",
		"~ map flows: access: ACCESS_PRIVATE -> ACCESS_READ",
		"+ map flows: display key.addr",
		"~ parameter limit: max: (none) -> 10",
	};

	(void)state;
	assert_int_equal(bundle_diff_new(a, b, &diff, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		if (!has_line(diff, lines[i]))
			fail_msg("missing: %s", lines[i]);
	}
	assert_int_equal(diff->n_differences, ARRAY_SIZE(lines));
	assert_int_equal(bundle_diff_new(a, a, &none, NULL), 0);
	assert_int_equal(none->n_differences, 0);
	assert_int_equal(bundle_diff_new(b, a, &back, NULL), 0);
	assert_true(has_line(back, "+ program count_tc"));
	assert_int_equal(back->n_differences, diff->n_differences);
	assert_int_equal(bundle_diff_new(a, sum, &added, NULL), 0);
	assert_true(
		has_line(added, "~ map flows: upgrade: UPGRADE_UNSPECIFIED -> UPGRADE_MIGRATE"));
	assert_true(has_line(added, "+ map flows: merge seen_at"));
	assert_int_equal(bundle_diff_new(sum, max, &changed, NULL), 0);
	assert_true(has_line(changed, "~ map flows: merge seen_at: rule: MERGE_SUM -> MERGE_MAX"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(programs_types_and_hooks_come_from_the_sections),
		cmocka_unit_test(section_names_of_old_and_new_style_are_understood),
		cmocka_unit_test(maps_are_private_and_shaped_as_declared),
		cmocka_unit_test(parameters_are_the_const_volatile_variables),
		cmocka_unit_test(yaml_adds_what_objects_cannot_tell),
		cmocka_unit_test(yaml_says_what_records_of_several_structs_are),
		cmocka_unit_test(yaml_says_what_an_upgrade_does),
		cmocka_unit_test(yaml_says_what_becomes_a_metric),
		cmocka_unit_test(the_same_input_gives_the_same_bytes),
		cmocka_unit_test(mistakes_are_named_with_line_and_guess),
		cmocka_unit_test(mistakes_about_programs_are_refused),
		cmocka_unit_test(mistakes_about_maps_and_parameters_are_refused),
		cmocka_unit_test(a_program_without_a_hook_must_be_left_out_on_purpose),
		cmocka_unit_test(an_object_that_is_no_bpf_elf_is_refused),
		cmocka_unit_test(files_are_read_beside_the_yaml_or_from_a_folder),
		cmocka_unit_test(a_diff_names_every_difference),
		cmocka_unit_test(a_diff_shows_records_of_several_structs),
	};

	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s FOLDER-OF-OBJECTS\n", argv[0]);
		return 2;
	}
	objects = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
