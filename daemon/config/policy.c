#include "daemon/config/policy.h"

#include "base/str.h"

static const char *const verb_names[POLICY_N_VERBS] = {
#define X(name, text) text,
	POLICY_VERBS(X)
#undef X
};

const char *policy_verb_name(enum policy_verb verb)
{
	return (unsigned int)verb < POLICY_N_VERBS ? verb_names[verb] : NULL;
}

static bool row_is_about(const struct policy_row *row, const struct policy_identity *identity)
{
	switch (row->who) {
	case POLICY_WHO_ANY:
		return true;
	case POLICY_WHO_UID:
		return row->id == identity->uid;
	case POLICY_WHO_GID:
		for (size_t i = 0; i < identity->n_gids; i++) {
			if (row->id == identity->gids[i])
				return true;
		}
		return false;
	}
	return false;
}

static bool row_covers(const struct policy_row *row, const char *bundle)
{
	for (size_t i = 0; i < row->n_bundles; i++) {
		if (str_glob(row->bundles[i], bundle))
			return true;
	}
	return false;
}

struct policy_decision policy_decide(const struct policy *policy,
				     const struct policy_identity *identity, enum policy_verb verb,
				     const char *bundle, const uid_t *owner)
{
	struct policy_decision decision = { .allowed = false, .row = NULL };

	if ((unsigned int)verb >= POLICY_N_VERBS)
		return decision;
	for (size_t i = 0; i < policy->n_rows; i++) {
		const struct policy_row *row = &policy->rows[i];

		if ((row->verbs & (UINT32_C(1) << verb)) == 0 || !row_is_about(row, identity))
			continue;
		if (bundle != NULL && !row_covers(row, bundle))
			continue;
		if (owner != NULL && !row->any_owner && *owner != identity->uid)
			continue;
		decision.allowed = true;
		decision.row = row;
		break;
	}
	return decision;
}
