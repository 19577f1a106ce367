#define _GNU_SOURCE
#include "bundle/build/infer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/build/typing.h"
#include "bundle/format.h"
#include "bundle/hook.h"
#include "bundle/name.h"
#include "proto/arena.h"

/* The last warning of libbpf in this thread: its API reports an errno only. */
static _Thread_local char warning[256];

static int __attribute__((format(printf, 2, 0)))
keep_warning(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN && warning[0] == '\0') {
		(void)vsnprintf(warning, sizeof(warning), format, args);
		warning[strcspn(warning, "\n")] = '\0';
	}
	return 0;
}

int infer_open(struct infer_object *object, struct error *err)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = object->name);
	libbpf_print_fn_t before = libbpf_set_print(keep_warning);

	warning[0] = '\0';
	object->bpf = bpf_object__open_mem(object->elf, object->size, &options);
	(void)libbpf_set_print(before);
	if (object->bpf == NULL)
		return error_raise(err, ERROR_OBJECT_MALFORMED,
				   "libbpf cannot open object '%s': %s", object->name,
				   warning[0] != '\0' ? warning : "not a BPF ELF file");
	return 0;
}

/* Section names (libbpf's program_types.rst) and the hook pattern that each means; `%s` is the
 * rest. */
static const struct {
	const char *section;
	bool has_rest; /* "section/rest" */
	const char *pattern;
} sections[] = {
	{ "xdp", false, "xdp:*" },
	{ "xdp.frags", false, "xdp:*" },
	{ "tc", false, "tc:*" },
	{ "classifier", false, "tc:*" },
	{ "tc/ingress", false, "tc:*:ingress" },
	{ "tc/egress", false, "tc:*:egress" },
	{ "tcx/ingress", false, "tc:*:ingress" },
	{ "tcx/egress", false, "tc:*:egress" },
	{ "cgroup/skb", false, "cgroup_skb:*" },
	{ "cgroup_skb/ingress", false, "cgroup_skb:*:ingress" },
	{ "cgroup_skb/egress", false, "cgroup_skb:*:egress" },
	{ "netkit/primary", false, "netkit:*:primary" },
	{ "netkit/peer", false, "netkit:*:peer" },
	{ "cgroup/sock", false, "cgroup_sock:*:create" },
	{ "cgroup/sock_create", false, "cgroup_sock:*:create" },
	{ "cgroup/sock_release", false, "cgroup_sock:*:release" },
	{ "cgroup/post_bind4", false, "cgroup_sock:*:post_bind4" },
	{ "cgroup/post_bind6", false, "cgroup_sock:*:post_bind6" },
	{ "cgroup/getsockopt", false, "cgroup_sockopt:*:get" },
	{ "cgroup/setsockopt", false, "cgroup_sockopt:*:set" },
	{ "cgroup/dev", false, "cgroup_device:*" },
	{ "cgroup/sysctl", false, "cgroup_sysctl:*" },
	/* After those: what is left of the calls of cgroups is on addresses. */
	{ "cgroup", true, "cgroup_sock_addr:*:%s" },
	{ "sockops", false, "sock_ops:*" },
	{ "sk_lookup", false, "sk_lookup:*" },
	{ "flow_dissector", false, "flow_dissector:*" },
	{ "netfilter", false, "netfilter:*" },
	{ "sk_skb", false, "sk_skb:*" },
	{ "sk_skb", true, "sk_skb:*:%s" },
	{ "sk_msg", false, "sk_msg:*" },
	{ "socket", false, "socket_filter:*" },
	{ "sk_reuseport", false, "sk_reuseport:*" },
	{ "sk_reuseport/migrate", false, "sk_reuseport:*" },
	{ "tracepoint", true, "tracepoint:%s" },
	{ "tp", true, "tracepoint:%s" },
	{ "raw_tracepoint", true, "raw_tp:%s" },
	{ "raw_tp", true, "raw_tp:%s" },
	{ "tp_btf", true, "tp_btf:%s" },
	{ "tracepoint", false, "tracepoint:*" },
	{ "tp", false, "tracepoint:*" },
	{ "raw_tracepoint", false, "raw_tp:*" },
	{ "raw_tp", false, "raw_tp:*" },
	{ "uprobe", true, "uprobe:%s" },
	{ "uprobe.s", true, "uprobe:%s" },
	{ "uprobe.multi", true, "uprobe:%s" },
	{ "uprobe.multi.s", true, "uprobe:%s" },
	{ "uprobe", false, "uprobe:*" },
	{ "uprobe.s", false, "uprobe:*" },
	{ "uprobe.multi", false, "uprobe:*" },
	{ "uprobe.multi.s", false, "uprobe:*" },
	{ "kprobe", true, "kprobe:%s" },
	{ "kprobe", false, "kprobe:*" },
	{ "kretprobe", true, "kretprobe:%s" },
	{ "kretprobe", false, "kretprobe:*" },
	{ "ksyscall", true, "ksyscall:%s" },
	{ "ksyscall", false, "ksyscall:*" },
	{ "kretsyscall", true, "kretsyscall:%s" },
	{ "kretsyscall", false, "kretsyscall:*" },
	{ "kprobe.multi", true, "kprobe_multi:%s" },
	{ "kprobe.multi", false, "kprobe_multi:*" },
	{ "kretprobe.multi", true, "kretprobe_multi:%s" },
	{ "kretprobe.multi", false, "kretprobe_multi:*" },
	{ "kprobe.session", true, "kprobe_session:%s" },
	{ "kprobe.session", false, "kprobe_session:*" },
	{ "uprobe.session", true, "uprobe_session:%s" },
	{ "uprobe.session", false, "uprobe_session:*" },
	{ "uprobe.session.s", true, "uprobe_session:%s" },
	{ "uprobe.session.s", false, "uprobe_session:*" },
	{ "uretprobe", true, "uretprobe:%s" },
	{ "uretprobe", false, "uretprobe:*" },
	{ "uretprobe.s", true, "uretprobe:%s" },
	{ "uretprobe.s", false, "uretprobe:*" },
	{ "uretprobe.multi", true, "uretprobe:%s" },
	{ "uretprobe.multi", false, "uretprobe:*" },
	{ "uretprobe.multi.s", true, "uretprobe:%s" },
	{ "uretprobe.multi.s", false, "uretprobe:*" },
	{ "fentry", true, "fentry:%s" },
	{ "fentry.s", true, "fentry:%s" },
	{ "fexit", true, "fexit:%s" },
	{ "fexit.s", true, "fexit:%s" },
	{ "fmod_ret", true, "fmod_ret:%s" },
	{ "fmod_ret.s", true, "fmod_ret:%s" },
	{ "lsm", true, "lsm:%s" },
	{ "lsm.s", true, "lsm:%s" },
	{ "iter", true, "iter:%s" },
	{ "iter.s", true, "iter:%s" },
	{ "raw_tp.w", true, "raw_tp:%s" },
	{ "raw_tracepoint.w", true, "raw_tp:%s" },
	{ "perf_event", false, "perf_event:*" },
	{ "struct_ops", true, "struct_ops:*" },
	{ "struct_ops", false, "struct_ops:*" },
	{ "lsm_cgroup", true, "lsm_cgroup:*:%s" },
	{ "usdt", true, "usdt:%s" },
	{ "usdt.s", true, "usdt:%s" },
	{ "usdt", false, "usdt:*" },
	{ "usdt.s", false, "usdt:*" },
};

/* Old objects name several programs of a section "xdp/one"; these attach as "xdp" does. */
static const char *const plain_prefixes[] = { "xdp/", "xdp.frags/", "tc/", "classifier/" };

/* Programs that entries of a device or CPU map run: no hook is theirs. */
static const char *const of_maps[] = { "xdp/devmap", "xdp/cpumap", "xdp.frags/devmap",
				       "xdp.frags/cpumap" };

static void append_part(struct str *s, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] <= ' ' || text[i] >= 0x7f || strchr(":,%=*@", text[i]) != NULL)
			(void)str_appendf(s, "%%%02X", (unsigned char)text[i]);
		else
			(void)str_append_bytes(s, text + i, 1);
	}
}

/* "CATEGORY/NAME" of a tracepoint. */
static void append_tracepoint(struct str *s, const char *rest)
{
	const char *slash = strchrnul(rest, '/');

	append_part(s, rest, (size_t)(slash - rest));
	(void)str_append(s, ":");
	if (*slash == '/')
		append_part(s, slash + 1, strlen(slash + 1));
	else
		(void)str_append(s, "*");
}

/* "/PATH:SYMBOL" of a uprobe; a name that is not a path is looked up by loaders, so any will do. */
static void append_uprobe(struct str *s, const char *rest)
{
	const char *colon = strrchr(rest, ':');

	if (colon == NULL)
		colon = rest + strlen(rest);
	if (rest[0] == '/')
		append_part(s, rest, (size_t)(colon - rest));
	else
		(void)str_append(s, "*");
	if (*colon == ':') {
		(void)str_append(s, ":");
		append_part(s, colon + 1, strlen(colon + 1));
	}
}

/* "/PATH:PROVIDER:NAME"; a name that is not a path may be anywhere. */
static void append_usdt(struct str *s, const char *rest)
{
	const char *colon = strchrnul(rest, ':'), *second = strchrnul(colon + (*colon == ':'), ':');

	if (rest[0] == '/')
		append_part(s, rest, (size_t)(colon - rest));
	else
		(void)str_append(s, "*");
	if (*second == '\0')
		return;
	(void)str_append(s, ":");
	append_part(s, colon + 1, (size_t)(second - colon) - 1);
	(void)str_append(s, ":");
	append_part(s, second + 1, strlen(second + 1));
}

/* A name or a glob of functions, in which `*` means here what it means there. */
static void append_glob(struct str *s, const char *rest)
{
	for (size_t n; *rest != '\0'; rest += n) {
		n = strcspn(rest, "*");
		append_part(s, rest, n);
		n += strspn(rest + n, "*");
		if (rest[n - 1] == '*')
			(void)str_append(s, "*");
	}
}

static bool is_of(const char *pattern, const char *kind)
{
	return strncmp(pattern, kind, strlen(kind)) == 0;
}

static bool is_of_functions(const char *pattern)
{
	return is_of(pattern, "kprobe_multi:") || is_of(pattern, "kretprobe_multi:") ||
	       is_of(pattern, "kprobe_session:");
}

static const char *expand(struct arena *arena, const char *pattern, const char *rest)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	const char *percent = strchr(pattern, '%'), *canonical = NULL;
	struct str text = { 0 };

	(void)str_append_bytes(&text, pattern,
			       percent != NULL ? (size_t)(percent - pattern) : strlen(pattern));
	if (percent != NULL && is_of(pattern, "tracepoint:"))
		append_tracepoint(&text, rest);
	else if (percent != NULL && (is_of(pattern, "uprobe:") || is_of(pattern, "uretprobe:") ||
				     is_of(pattern, "uprobe_session:")))
		append_uprobe(&text, rest);
	else if (percent != NULL && is_of_functions(pattern))
		append_glob(&text, rest);
	else if (percent != NULL && is_of(pattern, "usdt:"))
		append_usdt(&text, rest);
	else if (percent != NULL)
		append_part(&text, rest, strlen(rest));
	if (!text.failed && hook_parse_pattern(text.data, &hook, NULL) == 0)
		canonical = arena_strndup(arena, hook_text(hook), strlen(hook_text(hook)));
	str_done(&text);
	return canonical;
}

const char *infer_hook(struct arena *arena, const char *section)
{
	/* '?' says that the program is not loaded unless asked for. */
	if (section[0] == '?')
		section++;
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
		size_t n = strlen(sections[i].section);

		if (!sections[i].has_rest && strcmp(section, sections[i].section) == 0)
			return expand(arena, sections[i].pattern, "");
		if (sections[i].has_rest && strncmp(section, sections[i].section, n) == 0 &&
		    section[n] == '/' && section[n + 1] != '\0')
			return expand(arena, sections[i].pattern, section + n + 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(of_maps); i++) {
		if (strcmp(section, of_maps[i]) == 0)
			return NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(plain_prefixes); i++) {
		if (strncmp(section, plain_prefixes[i], strlen(plain_prefixes[i])) == 0)
			return expand(arena, plain_prefixes[i][0] == 'x' ? "xdp:*" : "tc:*", "");
	}
	return NULL;
}

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
}

static int too_many(const char *what, unsigned int max, struct error *err)
{
	return error_raise(err, ERROR_MANIFEST_INVALID, "more than %u %s", max, what);
}

static char *copy(struct arena *arena, const char *text)
{
	return arena_strndup(arena, text, strlen(text));
}

static int infer_program(struct arena *arena, const struct infer_object *object,
			 const struct bpf_program *bpf, Bpfleet__V1__Manifest *manifest,
			 struct error *err)
{
	const char *pattern = infer_hook(arena, bpf_program__section_name(bpf));
	/* A section that this libbpf does not know is of a session (libbpf 1.5), or of no use here.
	 */
	const char *type = bpf_program__type(bpf) == BPF_PROG_TYPE_UNSPEC && pattern != NULL
				   ? "kprobe"
				   : libbpf_bpf_prog_type_str(bpf_program__type(bpf));
	Bpfleet__V1__ProgramSpec *spec = arena_alloc(arena, sizeof(*spec));

	if (manifest->n_programs >= BUNDLE_PROGRAMS_MAX)
		return too_many("programs", BUNDLE_PROGRAMS_MAX, err);
	if (spec == NULL)
		return out_of_memory(err);
	bpfleet__v1__program_spec__init(spec);
	spec->object = copy(arena, object->name);
	spec->name = copy(arena, bpf_program__name(bpf));
	spec->type = copy(arena, type != NULL ? type : "unspec");
	spec->need = BPFLEET__V1__NEED__NEED_REQUIRED;
	spec->hooks = arena_alloc(arena, BUNDLE_HOOKS_MAX * sizeof(char *));
	spec->default_hooks = arena_alloc(arena, BUNDLE_HOOKS_MAX * sizeof(char *));
	if (spec->object == NULL || spec->name == NULL || spec->type == NULL ||
	    spec->hooks == NULL || spec->default_hooks == NULL)
		return out_of_memory(err);
	if (pattern != NULL)
		spec->hooks[spec->n_hooks++] = copy(arena, pattern);
	/* A section that says where exactly is where other loaders attach by themselves; of
	 * functions it may say several. */
	if (pattern != NULL &&
	    (strchr(pattern, '*') == NULL ||
	     (is_of_functions(pattern) && strcmp(strchr(pattern, ':'), ":*") != 0))) {
		_cleanup_(hook_freep) struct hook *hook = NULL;

		if (hook_parse(pattern, &hook, NULL) == 0)
			spec->default_hooks[spec->n_default_hooks++] = copy(arena, pattern);
	}
	manifest->programs[manifest->n_programs++] = spec;
	return 0;
}

/* The template that the object declares for the maps in a map; NULL: no memory. */
static Bpfleet__V1__InnerMapSpec *infer_inner(struct arena *arena, const struct bpf_map *bpf)
{
	const char *type = libbpf_bpf_map_type_str(bpf_map__type(bpf));
	Bpfleet__V1__InnerMapSpec *spec = arena_alloc(arena, sizeof(*spec));

	if (spec == NULL)
		return NULL;
	bpfleet__v1__inner_map_spec__init(spec);
	spec->type = copy(arena, type != NULL ? type : "unspec");
	spec->key_size = bpf_map__key_size(bpf);
	spec->value_size = bpf_map__value_size(bpf);
	spec->max_entries = bpf_map__max_entries(bpf);
	spec->flags = bpf_map__map_flags(bpf);
	return spec->type == NULL ? NULL : spec;
}

static int infer_map(struct arena *arena, const struct infer_object *object,
		     const struct bpf_map *bpf, Bpfleet__V1__Manifest *manifest, struct error *err)
{
	const char *type = libbpf_bpf_map_type_str(bpf_map__type(bpf)), *name = bpf_map__name(bpf);
	Bpfleet__V1__MapSpec *spec = arena_alloc(arena, sizeof(*spec));

	if (manifest->n_maps >= BUNDLE_MAPS_MAX)
		return too_many("maps", BUNDLE_MAPS_MAX, err);
	if (spec == NULL)
		return out_of_memory(err);
	bpfleet__v1__map_spec__init(spec);
	spec->object = copy(arena, object->name);
	spec->name = copy(arena, bpf_map__is_internal(bpf) ? name_map_from_libbpf(name) : name);
	spec->type = copy(arena, type != NULL ? type : "unspec");
	if (spec->object == NULL || spec->name == NULL || spec->type == NULL)
		return out_of_memory(err);
	spec->key_size = bpf_map__key_size(bpf);
	spec->value_size = bpf_map__value_size(bpf);
	spec->max_entries = bpf_map__max_entries(bpf);
	spec->flags = bpf_map__map_flags(bpf);
	spec->access = BPFLEET__V1__ACCESS__ACCESS_PRIVATE;
	spec->contents = BPFLEET__V1__CONTENTS__CONTENTS_VOLATILE;
	if (bpf_map__inner_map((struct bpf_map *)(uintptr_t)bpf) != NULL) {
		spec->inner =
			infer_inner(arena, bpf_map__inner_map((struct bpf_map *)(uintptr_t)bpf));
		if (spec->inner == NULL)
			return out_of_memory(err);
	}
	for (size_t i = 0; i < manifest->n_maps; i++) {
		if (strcmp(manifest->maps[i]->name, spec->name) == 0)
			return error_raise(
				err, ERROR_MANIFEST_INVALID,
				"objects '%s' and '%s' both have a map '%s': link them into "
				"one with `bpftool gen object`, or make two bundles",
				manifest->maps[i]->object, spec->object, spec->name);
	}
	manifest->maps[manifest->n_maps++] = spec;
	return 0;
}

/* Constants of one section. */
static int infer_section(struct arena *arena, const struct infer_object *object,
			 const struct btf_type *section, Bpfleet__V1__Manifest *manifest,
			 struct error *err)
{
	const struct btf *btf = bpf_object__btf(object->bpf);

	for (unsigned int i = 0; i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *info = btf_var_secinfos(section) + i;
		Bpfleet__V1__ParameterSpec spec = BPFLEET__V1__PARAMETER_SPEC__INIT, *kept;

		if (!typing_parameter(btf, info, &spec) || !name_is_symbol(spec.name))
			continue;
		if (manifest->n_parameters >= BUNDLE_PARAMETERS_MAX)
			return too_many("parameters", BUNDLE_PARAMETERS_MAX, err);
		kept = arena_alloc(arena, sizeof(*kept));
		if (kept == NULL)
			return out_of_memory(err);
		*kept = spec;
		kept->object = copy(arena, object->name);
		kept->name = copy(arena, spec.name);
		if (kept->object == NULL || kept->name == NULL)
			return out_of_memory(err);
		manifest->parameters[manifest->n_parameters++] = kept;
	}
	return 0;
}

/* ".rodata", and those with a suffix like ".rodata.settings". */
static int infer_parameters(struct arena *arena, const struct infer_object *object,
			    Bpfleet__V1__Manifest *manifest, struct error *err)
{
	static const char prefix[] = ".rodata";
	const struct btf *btf = bpf_object__btf(object->bpf);
	const __u32 n = btf != NULL ? btf__type_cnt(btf) : 0;
	int r = 0;

	for (__u32 id = 1; r == 0 && id < n; id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		const char *name = btf__name_by_offset(btf, type->name_off);

		if (btf_is_datasec(type) && name != NULL &&
		    strncmp(name, prefix, sizeof(prefix) - 1) == 0)
			r = infer_section(arena, object, type, manifest, err);
	}
	return r;
}

static int infer_object_spec(struct arena *arena, const struct infer_object *object,
			     Bpfleet__V1__Manifest *manifest, struct error *err)
{
	Bpfleet__V1__ObjectSpec *spec = arena_alloc(arena, sizeof(*spec));
	struct digest digest;

	if (spec == NULL)
		return out_of_memory(err);
	bpfleet__v1__object_spec__init(spec);
	digest_compute(object->elf, object->size, &digest);
	spec->name = copy(arena, object->name);
	spec->digest.data = arena_alloc(arena, sizeof(digest.bytes));
	if (spec->name == NULL || spec->digest.data == NULL)
		return out_of_memory(err);
	memcpy(spec->digest.data, digest.bytes, sizeof(digest.bytes));
	spec->digest.len = sizeof(digest.bytes);
	spec->size_bytes = object->size;
	manifest->objects[manifest->n_objects++] = spec;
	return 0;
}

int infer_manifest(struct arena *arena, const struct infer_object *object,
		   Bpfleet__V1__Manifest *manifest, struct error *err)
{
	struct bpf_program *program;
	const struct bpf_map *map;
	int r = infer_object_spec(arena, object, manifest, err);

	bpf_object__for_each_program(program, object->bpf)
	{
		if (r == 0)
			r = infer_program(arena, object, program, manifest, err);
	}
	bpf_object__for_each_map(map, object->bpf)
	{
		if (r == 0)
			r = infer_map(arena, object, map, manifest, err);
	}
	return r < 0 ? r : infer_parameters(arena, object, manifest, err);
}
