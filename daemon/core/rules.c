#include "daemon/core/rules.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bundle/hook.h"
#include "daemon/core/budget.h"
#include "daemon/core/trusted.h"

int rules_check_expiry(const Bpfleet__V1__Manifest *manifest, struct error *err)
{
	char when[CLOCK_RFC3339_LEN];

	if (manifest->expires_at_ns == 0 || clock_realtime_ns() < manifest->expires_at_ns)
		return 0;
	clock_format_rfc3339(manifest->expires_at_ns, when);
	return error_raise(err, ERROR_BUNDLE_EXPIRED, "%s expired at %s", manifest->name, when);
}

int rules_check_floor(struct core *core, const Bpfleet__V1__Manifest *manifest, struct error *err)
{
	const struct version version = { manifest->version->major, manifest->version->minor,
					 manifest->version->patch };
	uint32_t numbers[3] = { 0, 0, 0 };
	char text[NAME_VERSION_MAX + 1];
	struct version floor;
	int r = store_floor_get(core->store, manifest->name, numbers, err);

	if (r < 0)
		return r;
	floor = (struct version){ numbers[0], numbers[1], numbers[2] };
	if (version_compare(&version, &floor) >= 0)
		return 0;
	version_format(&floor, text);
	return error_raise(err, ERROR_BUNDLE_BELOW_FLOOR, "versions of %s below %s are obsolete",
			   manifest->name, text);
}

void rules_note_bundle(struct request *request, const struct trusted_bundle *bundle)
{
	const Bpfleet__V1__Manifest *manifest = bundle->bundle->manifest;
	const struct version version = { manifest->version->major, manifest->version->minor,
					 manifest->version->patch };
	const struct trust_verified *verified = bundle->verified;
	size_t used = 0;

	resource_format_bundle(manifest->name, &version, request->object);
	request->digest = verified->digest;
	request->has_digest = true;
	for (size_t i = 0; i < verified->n_signers; i++) {
		char key_id[MINISIGN_KEY_ID_TEXT_LEN + 1];

		minisign_format_key_id(verified->signers[i].key.key_id, key_id);
		used += (size_t)snprintf(request->signers + used, sizeof(request->signers) - used,
					 "%s%s", i == 0 ? "" : ",", key_id);
		if (used >= sizeof(request->signers))
			return;
	}
}

int rules_check_bundle(struct request *request, const struct trusted_bundle *bundle,
		       struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = bundle->bundle->manifest;
	struct core *core = request->core;
	int r;

	rules_note_bundle(request, bundle);
	r = trusted_bundle_check(core->bundles, bundle, err);
	if (r >= 0)
		r = rules_check_expiry(manifest, err);
	if (r >= 0)
		r = rules_check_floor(core, manifest, err);
	return r < 0 ? r : quarantine_check(core, bundle->digest.bytes, err);
}

int rules_check_hook(const Bpfleet__V1__ProgramSpec *program, const struct hook *hook,
		     struct error *err)
{
	for (size_t i = 0; i < program->n_hooks; i++) {
		_cleanup_(hook_freep) struct hook *pattern = NULL;
		int r = hook_parse_pattern(program->hooks[i], &pattern, err);

		if (r < 0)
			return r;
		if (hook_matches(pattern, hook))
			return 0;
	}
	(void)error_raise(err, ERROR_HOOK_NOT_ALLOWED,
			  "the manifest does not let program '%s' be attached to %.200s",
			  program->name, hook_text(hook));
	for (size_t i = 0; i < program->n_hooks && i < 4; i++)
		error_detail(err, "allowed", "%s", program->hooks[i]);
	return -error_info(ERROR_HOOK_NOT_ALLOWED)->sys_errno;
}
