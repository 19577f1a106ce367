#include <errno.h>

#include "base/error.h"
#include "base/str.h"
#include "client/lib.h"

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for the answer");
}

const char *lib_hex(struct arena *arena, ProtobufCBinaryData bytes)
{
	char *out = arena_alloc(arena, 2 * bytes.len + 1);

	if (out != NULL)
		str_hex(bytes.data, bytes.len, out);
	return out;
}

int lib_bundle(struct arena *arena, const ProtobufCMessage *base, void *ret, struct error *err)
{
	const Bpfleet__V1__BundleInfo *message = (const Bpfleet__V1__BundleInfo *)base;
	struct bpfleet_bundle *out = ret;
	struct bpfleet_signer *signers =
		arena_alloc(arena, (message->n_signers + 1) * sizeof(*signers));
	const char *digest = lib_hex(arena, message->digest);

	if (signers == NULL || digest == NULL)
		return no_memory(err);
	for (size_t i = 0; i < message->n_signers; i++)
		signers[i] = (struct bpfleet_signer){
			.key_id = message->signers[i]->key_id,
			.name = message->signers[i]->name,
			.trusted_comment = message->signers[i]->trusted_comment,
		};
	*out = (struct bpfleet_bundle){
		.name = message->name,
		.digest = digest,
		.size_bytes = message->size_bytes,
		.pushed_at_ns = message->pushed_at_ns,
		.pushed_by = message->pushed_by,
		.signers = signers,
		.n_signers = message->n_signers,
		.description = message->description,
		.expires_at_ns = message->expires_at_ns,
		.n_instances = message->n_instances,
		.refused_reason = message->refused_reason,
	};
	return 0;
}

int lib_instance(struct arena *arena, const ProtobufCMessage *base, void *ret, struct error *err)
{
	const Bpfleet__V1__Instance *message = (const Bpfleet__V1__Instance *)base;
	struct bpfleet_instance *out = ret;
	struct bpfleet_parameter *parameters =
		arena_alloc(arena, (message->n_parameters + 1) * sizeof(*parameters));

	if (parameters == NULL)
		return no_memory(err);
	for (size_t i = 0; i < message->n_parameters; i++)
		parameters[i] = (struct bpfleet_parameter){
			.name = message->parameters[i]->name,
			.value = message->parameters[i]->value,
		};
	*out = (struct bpfleet_instance){
		.name = message->name,
		.label = message->label,
		.owner = message->owner,
		.bundle = message->bundle,
		.parameters = parameters,
		.n_parameters = message->n_parameters,
		.durability = (enum bpfleet_durability)message->durability,
		.state = (enum bpfleet_instance_state)message->state,
		.reason = message->reason,
		.created_at_ns = message->created_at_ns,
		.loaded_at_ns = message->loaded_at_ns,
		.lease_ends_at_ns = message->lease_ends_at_ns,
		.revision = message->revision,
		.previous_bundle = message->previous_bundle,
		.soak_ends_at_ns = message->soak_ends_at_ns,
		.n_programs = message->n_programs,
		.n_links = message->n_links,
	};
	return 0;
}

int lib_program(struct arena *arena, const ProtobufCMessage *base, void *ret, struct error *err)
{
	const Bpfleet__V1__Program *message = (const Bpfleet__V1__Program *)base;
	struct bpfleet_program *out = ret;
	(void)arena;
	(void)err;
	*out = (struct bpfleet_program){
		.name = message->name,
		.type = message->type,
		.kernel_id = message->kernel_id,
		.n_links = message->n_links,
		.verified_insns = message->verified_insns,
		.skipped_reason = message->skipped_reason,
		.verifier_log = message->verifier_log,
		.hooks = (const char *const *)message->hooks,
		.n_hooks = message->n_hooks,
	};
	return 0;
}

int lib_link(struct arena *arena, const ProtobufCMessage *base, void *ret, struct error *err)
{
	const Bpfleet__V1__Link *message = (const Bpfleet__V1__Link *)base;
	struct bpfleet_link *out = ret;
	(void)arena;
	(void)err;
	*out = (struct bpfleet_link){
		.name = message->name,
		.program = message->program,
		.hook = message->hook_text,
		.state = (enum bpfleet_link_state)message->state,
		.reason = message->reason,
		.kernel_id = message->kernel_id,
		.attached_at_ns = message->attached_at_ns,
		.revision = message->revision,
	};
	return 0;
}

int lib_map(struct arena *arena, const ProtobufCMessage *base, void *ret, struct error *err)
{
	const Bpfleet__V1__Map *message = (const Bpfleet__V1__Map *)base;
	struct bpfleet_map *out = ret;
	(void)arena;
	(void)err;
	*out = (struct bpfleet_map){
		.name = message->name,
		.type = message->type,
		.key_size = message->key_size,
		.value_size = message->value_size,
		.max_entries = message->max_entries,
		.access = (enum bpfleet_access)message->access,
		.n_cpus = message->n_cpus,
		.kernel_id = message->kernel_id,
		.durable = message->contents == BPFLEET__V1__CONTENTS__CONTENTS_DURABLE,
		.frozen = message->frozen,
	};
	return 0;
}
