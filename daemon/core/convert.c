#include "daemon/core/convert.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/name.h"
#include "daemon/core/budget.h"
#include "daemon/core/core.h"
#include "daemon/core/state.pb-c.h"
#include "daemon/core/trusted.h"
#include "proto/arena.h"

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "the answer is larger than its limit");
}

char *convert_text(struct arena *arena, const char *text)
{
	if (text == NULL || text[0] == '\0')
		return (char *)(uintptr_t)protobuf_c_empty_string;
	return arena_strndup(arena, text, strlen(text));
}

int convert_bytes(struct arena *arena, const void *bytes, size_t n, ProtobufCBinaryData *ret,
		  struct error *err)
{
	ret->len = n;
	ret->data = n == 0 ? NULL : (uint8_t *)arena_strndup(arena, bytes, n);
	return n > 0 && ret->data == NULL ? no_memory(err) : 0;
}

char *convert_bundle_name(struct arena *arena, const char *name, const uint32_t version[static 3])
{
	const struct version numbers = { version[0], version[1], version[2] };
	char text[NAME_RESOURCE_MAX + 1];

	resource_format_bundle(name, &numbers, text);
	return convert_text(arena, text);
}

static int convert_signers(struct core *core, struct arena *arena, const struct store_bundle *row,
			   Bpfleet__V1__BundleInfo *info, struct error *err)
{
	_cleanup_free_ struct store_signature *signatures = NULL;
	size_t n = 0;
	int r = store_signature_list(core->store, row->digest, &signatures, &n, err);

	if (r < 0)
		return r;
	info->signers = arena_alloc(arena, n * sizeof(*info->signers));
	if (info->signers == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		Bpfleet__V1__Signer *signer = arena_alloc(arena, sizeof(*signer));

		if (signer == NULL)
			return no_memory(err);
		bpfleet__v1__signer__init(signer);
		signer->key_id = convert_text(arena, signatures[i].key_id);
		signer->name = convert_text(arena, signatures[i].signer);
		signer->trusted_comment = convert_text(arena, signatures[i].trusted_comment);
		if (signer->key_id == NULL || signer->name == NULL ||
		    signer->trusted_comment == NULL)
			return no_memory(err);
		info->signers[info->n_signers++] = signer;
	}
	return 0;
}

/* What a load would be told today; only what can be said without reading the file again. */
static const char *refusal_today(struct core *core, const struct store_bundle *row)
{
	const struct trust *trust = trust_ref_get(trusted_bundles_trust(core->bundles));
	uint32_t floor[3] = { 0, 0, 0 };
	struct error ignored = { 0 };

	for (size_t i = 0; i < trust->n_revoked; i++) {
		if (memcmp(trust->revoked[i].bytes, row->digest, BUNDLE_DIGEST_LEN) == 0)
			return "BUNDLE_REVOKED";
	}
	if (store_floor_get(core->store, row->name, floor, &ignored) >= 0 &&
	    version_compare(&(struct version){ row->version[0], row->version[1], row->version[2] },
			    &(struct version){ floor[0], floor[1], floor[2] }) < 0)
		return "BUNDLE_BELOW_FLOOR";
	return "";
}

int convert_bundle(struct core *core, struct arena *arena, const struct store_bundle *row,
		   Bpfleet__V1__BundleInfo **ret, struct error *err)
{
	Bpfleet__V1__BundleInfo *info = arena_alloc(arena, sizeof(*info));
	int r;

	if (info == NULL)
		return no_memory(err);
	bpfleet__v1__bundle_info__init(info);
	info->name = convert_bundle_name(arena, row->name, row->version);
	info->pushed_by = convert_text(arena, row->pushed_by);
	info->description = convert_text(arena, row->description);
	info->refused_reason = (char *)(uintptr_t)refusal_today(core, row);
	if (info->name == NULL || info->pushed_by == NULL || info->description == NULL)
		return no_memory(err);
	info->size_bytes = row->size_bytes;
	info->pushed_at_ns = row->pushed_at_ns;
	info->expires_at_ns = row->expires_at_ns;
	info->n_instances = row->n_instances;
	r = convert_bytes(arena, row->digest, BUNDLE_DIGEST_LEN, &info->digest, err);
	if (r >= 0)
		r = convert_signers(core, arena, row, info, err);
	if (r < 0)
		return r;
	*ret = info;
	return 0;
}

static int convert_parameters(struct core *core, struct arena *arena, const char *instance,
			      Bpfleet__V1__Instance *message, struct error *err)
{
	_cleanup_free_ struct store_parameter *rows = NULL;
	size_t n = 0;
	int r = store_parameter_list(core->store, instance, &rows, &n, err);

	if (r < 0)
		return r;
	message->parameters = arena_alloc(arena, n * sizeof(*message->parameters));
	if (message->parameters == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		Bpfleet__V1__Parameter *parameter = arena_alloc(arena, sizeof(*parameter));

		if (parameter == NULL)
			return no_memory(err);
		bpfleet__v1__parameter__init(parameter);
		parameter->name = convert_text(arena, rows[i].name);
		parameter->value = convert_text(arena, rows[i].value);
		if (parameter->name == NULL || parameter->value == NULL)
			return no_memory(err);
		message->parameters[message->n_parameters++] = parameter;
	}
	return 0;
}

int convert_instance(struct core *core, struct arena *arena, const struct store_instance *row,
		     Bpfleet__V1__Instance **ret, struct error *err)
{
	Bpfleet__V1__Instance *message = arena_alloc(arena, sizeof(*message));
	char name[NAME_RESOURCE_MAX + 1];
	int r;

	if (message == NULL)
		return no_memory(err);
	bpfleet__v1__instance__init(message);
	resource_format_instance(row->id, name);
	message->name = convert_text(arena, name);
	message->label = convert_text(arena, row->label);
	message->owner = convert_text(arena, row->owner);
	message->bundle = convert_bundle_name(arena, row->bundle_name, row->bundle_version);
	message->reason = convert_text(arena, row->reason);
	if (message->name == NULL || message->label == NULL || message->owner == NULL ||
	    message->bundle == NULL || message->reason == NULL)
		return no_memory(err);
	message->durability = (Bpfleet__V1__Durability)row->durability;
	message->state = (Bpfleet__V1__InstanceState)row->state;
	message->created_at_ns = row->created_at_ns;
	message->loaded_at_ns = row->loaded_at_ns;
	message->n_programs = row->n_programs;
	message->n_links = row->n_links;
	message->lease_ends_at_ns = row->lease_ends_at_ns;
	message->revision = row->revision;
	message->generation = row->generation;
	message->budget = budget_of(row, arena);
	r = convert_bytes(arena, row->digest, BUNDLE_DIGEST_LEN, &message->digest, err);
	if (r >= 0 && row->has_previous) {
		message->previous_bundle =
			convert_bundle_name(arena, row->previous_name, row->previous_version);
		if (message->previous_bundle == NULL)
			return no_memory(err);
		message->soak_ends_at_ns = row->soak_ends_at_ns;
		r = convert_bytes(arena, row->previous_digest, BUNDLE_DIGEST_LEN,
				  &message->previous_digest, err);
	}
	if (r >= 0 && row->n_parameters > 0)
		r = convert_parameters(core, arena, row->id, message, err);
	if (r < 0)
		return r;
	*ret = message;
	return 0;
}

int convert_program(struct arena *arena, const struct store_program *row,
		    Bpfleet__V1__Program **ret, struct error *err)
{
	Bpfleet__V1__Program *message = arena_alloc(arena, sizeof(*message));
	char name[NAME_RESOURCE_MAX + 1];
	ProtobufCMessage *spec;
	int r;

	if (message == NULL)
		return no_memory(err);
	bpfleet__v1__program__init(message);
	resource_format_program(row->instance, row->name, name);
	message->name = convert_text(arena, name);
	message->type = convert_text(arena, row->type);
	message->skipped_reason = convert_text(arena, row->skipped_reason);
	if (message->name == NULL || message->type == NULL || message->skipped_reason == NULL)
		return no_memory(err);
	message->kernel_id = row->kernel_id;
	message->verified_insns = row->verified_insns;
	message->n_links = row->n_links;
	r = convert_bytes(arena, row->tag, row->kernel_id == 0 ? 0 : sizeof(row->tag),
			  &message->tag, err);
	if (r >= 0)
		r = arena_unpack(arena, &bpfleet__v1__program_spec__descriptor, row->spec.data,
				 row->spec.size, &spec, err);
	if (r < 0)
		return r;
	message->hooks = ((Bpfleet__V1__ProgramSpec *)spec)->hooks;
	message->n_hooks = ((Bpfleet__V1__ProgramSpec *)spec)->n_hooks;
	if (row->verifier.size > 0)
		r = arena_unpack(arena, &bpfleet__v1__verifier_figures__descriptor,
				 row->verifier.data, row->verifier.size,
				 (ProtobufCMessage **)(void *)&message->verifier, err);
	*ret = message;
	return r;
}

int convert_map(const struct core *core, struct arena *arena, const struct store_map *row,
		Bpfleet__V1__Map **ret, struct error *err)
{
	Bpfleet__V1__Map *message = arena_alloc(arena, sizeof(*message));
	char name[NAME_RESOURCE_MAX + 1];
	const Bpfleet__V1__MapSpec *spec;
	ProtobufCMessage *record;
	int r;

	if (message == NULL)
		return no_memory(err);
	bpfleet__v1__map__init(message);
	resource_format_map(row->instance, row->name, name);
	message->name = convert_text(arena, name);
	message->type = convert_text(arena, row->type);
	if (message->name == NULL || message->type == NULL)
		return no_memory(err);
	message->key_size = row->key_size;
	message->value_size = row->value_size;
	message->max_entries = row->max_entries;
	message->flags = row->flags;
	message->access = (Bpfleet__V1__Access)row->access;
	message->contents = (Bpfleet__V1__Contents)row->contents;
	message->kernel_id = row->kernel_id;
	message->frozen = row->frozen;
	/* The kernel's names of all types with a value per CPU hold the word, and no others do. */
	message->n_cpus = strstr(row->type, "percpu") != NULL ? core->n_cpus : 0;
	message->key_type_id = row->key_type_id;
	message->value_type_id = row->value_type_id;
	message->event_type_id = row->event_type_id;
	r = arena_unpack(arena, &bpfleet__state__map_record__descriptor, row->spec.data,
			 row->spec.size, &record, err);
	if (r < 0)
		return r;
	message->metrics = ((Bpfleet__State__MapRecord *)record)->metrics;
	message->n_metrics = ((Bpfleet__State__MapRecord *)record)->n_metrics;
	spec = ((Bpfleet__State__MapRecord *)record)->spec;
	if (spec != NULL) {
		message->display = spec->display;
		message->n_display = spec->n_display;
		if (spec->events != NULL) {
			message->event_tag = spec->events->tag;
			message->event_variants = spec->events->variants;
			message->n_event_variants = spec->events->n_variants;
		}
	}
	*ret = message;
	return 0;
}

int convert_link(struct arena *arena, const struct store_link *row, Bpfleet__V1__Link **ret,
		 struct error *err)
{
	Bpfleet__V1__Link *message = arena_alloc(arena, sizeof(*message));
	char name[NAME_RESOURCE_MAX + 1];
	ProtobufCMessage *hook;
	int r;

	if (message == NULL)
		return no_memory(err);
	bpfleet__v1__link__init(message);
	resource_format_link(row->id, name);
	message->name = convert_text(arena, name);
	resource_format_program(row->instance, row->program, name);
	message->program = convert_text(arena, name);
	message->hook_text = convert_text(arena, row->hook);
	message->reason = convert_text(arena, row->reason);
	if (message->name == NULL || message->program == NULL || message->hook_text == NULL ||
	    message->reason == NULL)
		return no_memory(err);
	message->state = (Bpfleet__V1__LinkState)row->state;
	message->kernel_id = row->kernel_id;
	message->attached_at_ns = row->attached_at_ns;
	message->revision = row->revision;
	if (row->selected_by[0] != '\0') {
		resource_format_link(row->selected_by, name);
		message->selected_by = convert_text(arena, name);
		if (message->selected_by == NULL)
			return no_memory(err);
	}
	r = arena_unpack(arena, &bpfleet__v1__hook__descriptor, row->spec.data, row->spec.size,
			 &hook, err);
	if (r < 0)
		return r;
	message->hook = (Bpfleet__V1__Hook *)hook;
	*ret = message;
	return 0;
}

int convert_audit(struct arena *arena, const struct store_audit *row, Bpfleet__V1__AuditRow **ret,
		  struct error *err)
{
	Bpfleet__V1__AuditRow *message = arena_alloc(arena, sizeof(*message));
	int r;

	if (message == NULL)
		return no_memory(err);
	bpfleet__v1__audit_row__init(message);
	message->identity = convert_text(arena, row->identity);
	message->verb = convert_text(arena, row->verb);
	message->object = convert_text(arena, row->object);
	message->signers = convert_text(arena, row->signers);
	message->outcome = convert_text(arena, row->outcome);
	message->reason = convert_text(arena, row->reason);
	message->detail = convert_text(arena, row->detail);
	if (message->identity == NULL || message->verb == NULL || message->object == NULL ||
	    message->signers == NULL || message->outcome == NULL || message->reason == NULL ||
	    message->detail == NULL)
		return no_memory(err);
	message->sequence = row->sequence;
	message->at_ns = row->at_ns;
	message->duration_ns = row->duration_ns;
	message->count = row->count;
	r = convert_bytes(arena, row->digest.data, row->digest.size, &message->digest, err);
	if (r >= 0)
		r = convert_bytes(arena, row->hash, STORE_HASH_LEN, &message->hash, err);
	if (r < 0)
		return r;
	*ret = message;
	return 0;
}
