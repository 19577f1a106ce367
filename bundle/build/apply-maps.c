#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/error.h"
#include "bundle/build/apply.h"
#include "bundle/build/typing.h"
#include "bundle/format.h"
#include "proto/arena.h"

struct target {
	struct apply *apply;
	Bpfleet__V1__MapSpec *spec;
	yaml_node_t *display;  /* kept until the events are known: paths may lead into them */
	yaml_node_t *variants; /* of events; kept until the tag is known */
	struct typing_tag tag;
};

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
}

static const struct bpf_object *bpf_of(const struct target *target)
{
	return apply_object(target->apply, target->spec->object)->bpf;
}

static int apply_access(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	static const char *const words[] = { "private", "read", "write" };
	static const Bpfleet__V1__Access values[] = {
		BPFLEET__V1__ACCESS__ACCESS_PRIVATE,
		BPFLEET__V1__ACCESS__ACCESS_READ,
		BPFLEET__V1__ACCESS__ACCESS_WRITE,
	};
	struct target *target = context;
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	target->spec->access = values[index];
	return 0;
}

static int apply_contents(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	static const char *const words[] = { "volatile", "durable" };
	struct target *target = context;
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	target->spec->contents = index == 0 ? BPFLEET__V1__CONTENTS__CONTENTS_VOLATILE
					    : BPFLEET__V1__CONTENTS__CONTENTS_DURABLE;
	return 0;
}

static int apply_event_type(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;
	const struct btf *btf = bpf_object__btf(bpf_of(target));
	int r = apply_text(yaml, node, target->apply->arena, &target->spec->events->record_type,
			   err);

	if (r < 0)
		return r;
	if (btf == NULL ||
	    btf__find_by_name_kind(btf, target->spec->events->record_type, BTF_KIND_STRUCT) < 0)
		return yaml_error(
			yaml, node, err,
			"the object's type information has no 'struct %.64s'; a type that "
			"only local pointers use needs a global one: struct %.64s *unused;",
			target->spec->events->record_type, target->spec->events->record_type);
	return 0;
}

static int apply_event_drops(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;
	int r = apply_text(yaml, node, target->apply->arena, &target->spec->events->drop_counter,
			   err);

	if (r < 0)
		return r;
	if (typing_global_size(bpf_object__btf(bpf_of(target)),
			       target->spec->events->drop_counter) != 8)
		return yaml_error(yaml, node, err,
				  "the object has no global variable '%.64s' of 8 bytes",
				  target->spec->events->drop_counter);
	return 0;
}

static int apply_event_tag(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	return apply_text(yaml, node, target->apply->arena, &target->spec->events->tag, err);
}

static int keep_variants(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	(void)yaml;
	(void)err;
	((struct target *)context)->variants = node;
	return 0;
}

static int variant_pair(struct yaml *yaml, yaml_node_t *key, const char *value_of_tag,
			yaml_node_t *value, void *context, struct error *err)
{
	struct target *target = context;
	Bpfleet__V1__EventSpec *events = target->spec->events;
	const struct btf *btf = bpf_object__btf(bpf_of(target));
	Bpfleet__V1__EventVariant *variant = arena_alloc(target->apply->arena, sizeof(*variant));
	struct typing_tag tag;
	int r;

	if (variant == NULL)
		return out_of_memory(err);
	if (events->n_variants == BUNDLE_VARIANTS_MAX)
		return yaml_error(yaml, key, err, "more than %d variants", BUNDLE_VARIANTS_MAX);
	bpfleet__v1__event_variant__init(variant);
	r = apply_text(yaml, value, target->apply->arena, &variant->record_type, err);
	if (r == 0)
		r = typing_event_tag(btf, variant->record_type, events->tag, &tag, err);
	if (r == 0)
		r = typing_tag_value(btf, &tag, value_of_tag, &variant->tag, err);
	if (r < 0)
		return yaml_context(yaml, value, err, r);
	if (events->n_variants == 0)
		target->tag = tag;
	if (tag.offset != target->tag.offset || tag.size != target->tag.size)
		return yaml_error(yaml, value, err,
				  "'%.64s' is not at the same place in struct '%.64s' as in "
				  "the first",
				  events->tag, variant->record_type);
	events->variants[events->n_variants++] = variant;
	return 0;
}

static int apply_variants(struct yaml *yaml, yaml_node_t *node, struct target *target,
			  struct error *err)
{
	Bpfleet__V1__EventSpec *events = target->spec->events;

	if (target->variants == NULL && events->tag[0] == '\0')
		return 0;
	if (target->variants == NULL || events->tag[0] == '\0' || events->record_type[0] != '\0')
		return yaml_error(yaml, node, err,
				  "events have a type, or a tag and the variants that it tells");
	events->variants = arena_alloc(target->apply->arena,
				       BUNDLE_VARIANTS_MAX * sizeof(events->variants[0]));
	if (events->variants == NULL)
		return out_of_memory(err);
	return yaml_each_pair(yaml, target->variants, variant_pair, target, err);
}

static int apply_events(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	static const struct yaml_key keys[] = { { "type", apply_event_type },
						{ "tag", apply_event_tag },
						{ "variants", keep_variants },
						{ "drops", apply_event_drops } };
	struct target *target = context;
	int r;

	if (strcmp(target->spec->type, "ringbuf") != 0 &&
	    strcmp(target->spec->type, "perf_event_array") != 0)
		return yaml_error(yaml, node, err,
				  "map '%s' is a %s; only a ringbuf or perf_event_array has events",
				  target->spec->name, target->spec->type);
	target->spec->events = arena_alloc(target->apply->arena, sizeof(*target->spec->events));
	if (target->spec->events == NULL)
		return out_of_memory(err);
	bpfleet__v1__event_spec__init(target->spec->events);
	r = yaml_apply(yaml, node, keys, ARRAY_SIZE(keys), target, err);
	return r < 0 ? r : apply_variants(yaml, node, target, err);
}

static int keep_display(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	(void)yaml;
	(void)err;
	((struct target *)context)->display = node;
	return 0;
}

static int parse_format(struct yaml *yaml, yaml_node_t *node, Bpfleet__V1__Format *ret,
			struct error *err)
{
	/* In the order of the enum, which starts at 1 with ipv4. */
	static const char *const words[] = { "ipv4",	   "ipv6",     "cidr", "mac",
					     "big_endian", "string",   "hex",  "ip_protocol",
					     "bytes",	   "duration", "ip",   "string_list" };
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	*ret = (Bpfleet__V1__Format)(index + BPFLEET__V1__FORMAT__FORMAT_IPV4);
	return 0;
}

static int display_pair(struct yaml *yaml, yaml_node_t *key, const char *path, yaml_node_t *value,
			void *context, struct error *err)
{
	struct target *target = context;
	Bpfleet__V1__MapSpec *spec = target->spec;
	Bpfleet__V1__Display *display = arena_alloc(target->apply->arena, sizeof(*display));
	size_t n = strcspn(path, ".");
	int r;

	if (display == NULL)
		return out_of_memory(err);
	bpfleet__v1__display__init(display);
	if (spec->n_display >= BUNDLE_DISPLAYS_MAX)
		return yaml_error(yaml, key, err, "more than %d display formats",
				  BUNDLE_DISPLAYS_MAX);
	if (!(n == 3 && memcmp(path, "key", n) == 0) &&
	    !(n == 5 && memcmp(path, "value", n) == 0) &&
	    !(n == 5 && memcmp(path, "event", n) == 0))
		return yaml_error(
			yaml, key, err,
			"'%.64s' is not a path as key, key.addr, value.name or event.comm", path);
	r = apply_text(yaml, key, target->apply->arena, &display->path, err);
	if (r == 0)
		r = parse_format(yaml, value, &display->format, err);
	if (r < 0)
		return r;
	r = typing_check_display(bpf_of(target), spec, display, err);
	if (r < 0)
		return yaml_context(yaml, key, err, r);
	spec->display[spec->n_display++] = display;
	return 0;
}

static int apply_display(struct yaml *yaml, struct target *target, struct error *err)
{
	if (target->display == NULL)
		return 0;
	target->spec->display = arena_alloc(target->apply->arena,
					    BUNDLE_DISPLAYS_MAX * sizeof(Bpfleet__V1__Display *));
	if (target->spec->display == NULL)
		return out_of_memory(err);
	return yaml_each_pair(yaml, target->display, display_pair, target, err);
}

static int apply_upgrade(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	/* In the order of the enum, which starts at 1 with keep. */
	static const char *const words[] = { "keep", "reset", "migrate" };
	struct target *target = context;
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	target->spec->upgrade = (Bpfleet__V1__Upgrade)(index + BPFLEET__V1__UPGRADE__UPGRADE_KEEP);
	return 0;
}

static int merge_pair(struct yaml *yaml, yaml_node_t *key, const char *path, yaml_node_t *value,
		      void *context, struct error *err)
{
	/* In the order of the enum, which starts at 1 with sum. */
	static const char *const words[] = { "sum", "max", "newest", "reset" };
	struct target *target = context;
	Bpfleet__V1__MapSpec *spec = target->spec;
	Bpfleet__V1__MergeRule *merge = arena_alloc(target->apply->arena, sizeof(*merge));
	size_t index;
	int r;

	(void)path;
	if (merge == NULL)
		return out_of_memory(err);
	bpfleet__v1__merge_rule__init(merge);
	if (spec->n_merge >= BUNDLE_MERGES_MAX)
		return yaml_error(yaml, key, err, "more than %d merge rules", BUNDLE_MERGES_MAX);
	r = apply_text(yaml, key, target->apply->arena, &merge->path, err);
	if (r == 0)
		r = yaml_word(yaml, value, words, ARRAY_SIZE(words), &index, err);
	if (r < 0)
		return r;
	merge->rule = (Bpfleet__V1__Merge)(index + BPFLEET__V1__MERGE__MERGE_SUM);
	r = typing_check_merge(bpf_of(target), spec, merge, err);
	if (r < 0)
		return yaml_context(yaml, key, err, r);
	spec->merge[spec->n_merge++] = merge;
	return 0;
}

static int apply_merge(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	target->spec->merge = arena_alloc(target->apply->arena,
					  BUNDLE_MERGES_MAX * sizeof(Bpfleet__V1__MergeRule *));
	if (target->spec->merge == NULL)
		return out_of_memory(err);
	return yaml_each_pair(yaml, node, merge_pair, target, err);
}

static int map_pair(struct yaml *yaml, yaml_node_t *key, const char *name, yaml_node_t *value,
		    void *context, struct error *err)
{
	static const struct yaml_key keys[] = {
		{ "access", apply_access },   { "contents", apply_contents },
		{ "events", apply_events },   { "display", keep_display },
		{ "upgrade", apply_upgrade }, { "merge", apply_merge },
	};
	struct apply *apply = context;
	const Bpfleet__V1__Manifest *manifest = apply->manifest;
	struct target target = { .apply = apply };
	const char *names[BUNDLE_MAPS_MAX];
	int r;

	target.spec = (Bpfleet__V1__MapSpec *)manifest_map(manifest, name);
	if (target.spec == NULL) {
		for (size_t i = 0; i < manifest->n_maps; i++)
			names[i] = manifest->maps[i]->name;
		return apply_unknown(yaml, key, "map", name, names, manifest->n_maps, err);
	}
	r = yaml_apply(yaml, value, keys, ARRAY_SIZE(keys), &target, err);
	return r < 0 ? r : apply_display(yaml, &target, err);
}

int apply_maps(struct yaml *yaml, struct apply *apply, struct error *err)
{
	for (size_t i = 0; i < apply->manifest->n_maps; i++)
		apply->manifest->maps[i]->access = apply->default_access;
	if (apply->maps == NULL)
		return 0;
	return yaml_each_pair(yaml, apply->maps, map_pair, apply, err);
}
