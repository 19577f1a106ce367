#include "daemon/config/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/config/doc.h"
#include "daemon/config/names.h"

#define ID_MAX (UINT32_MAX - 1)

void policy_free(struct policy *policy)
{
	if (policy == NULL)
		return;
	for (size_t i = 0; i < policy->n_rows; i++)
		doc_strings_free(policy->rows[i].bundles, policy->rows[i].n_bundles);
	free(policy->rows);
	free(policy);
}

static int read_group(const struct doc *doc, const struct doc_node *node, struct policy_row *row,
		      struct error *err)
{
	const char *text;
	gid_t gid;
	int r;

	r = doc_text(doc, node, "group", &text, err);
	if (r < 0)
		return r;
	if (names_group(text, &gid) < 0)
		return doc_raise(doc, node, err, "no group '%.64s' in /etc/group", text);
	row->who = POLICY_WHO_GID;
	row->id = gid;
	return 0;
}

/* {uid: N}, {gid: N}, {group: NAME} or {any: true}. */
static int read_who(const struct doc *doc, const struct doc_node *who, struct policy_row *row,
		    struct error *err)
{
	static const char *const known[] = { "uid", "gid", "group", "any" };
	const struct doc_node *value;
	uint64_t id;
	int r;

	r = doc_check_keys(doc, who, known, ARRAY_SIZE(known), err);
	if (r < 0)
		return r;
	if (who->n != 1)
		return doc_raise(doc, who, err, "who takes one of uid, gid, group and any");
	value = who->values[0];
	if (strcmp(who->keys[0], "group") == 0)
		return read_group(doc, value, row, err);
	if (strcmp(who->keys[0], "any") == 0) {
		if (value->kind != DOC_SCALAR || strcmp(value->text, "true") != 0)
			return doc_raise(doc, value, err, "any must be true");
		row->who = POLICY_WHO_ANY;
		return 0;
	}
	r = doc_number(doc, value, who->keys[0], 0, ID_MAX, &id, err);
	if (r < 0)
		return r;
	row->who = strcmp(who->keys[0], "uid") == 0 ? POLICY_WHO_UID : POLICY_WHO_GID;
	row->id = (uint32_t)id;
	return 0;
}

static int read_verb(const struct doc *doc, const struct doc_node *node, uint32_t *verbs,
		     struct error *err)
{
	const char *text;
	int r;

	r = doc_text(doc, node, "a verb", &text, err);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < POLICY_N_VERBS; i++) {
		if (strcmp(policy_verb_name((enum policy_verb)i), text) == 0) {
			*verbs |= UINT32_C(1) << i;
			return 0;
		}
	}
	return doc_raise(doc, node, err, "unknown verb '%.64s'", text);
}

static int read_verbs(const struct doc *doc, const struct doc_node *node, uint32_t *ret,
		      struct error *err)
{
	uint32_t verbs = 0;

	if (node->kind == DOC_SCALAR && strcmp(node->text, "all") == 0) {
		*ret = (UINT32_C(1) << POLICY_N_VERBS) - 1;
		return 0;
	}
	if (node->kind != DOC_LIST || node->n == 0)
		return doc_raise(doc, node, err, "may must be a list of verbs, or all");
	for (size_t i = 0; i < node->n; i++) {
		int r = read_verb(doc, node->values[i], &verbs, err);

		if (r < 0)
			return r;
	}
	*ret = verbs;
	return 0;
}

static int read_owner(const struct doc *doc, const struct doc_node *node, bool *ret,
		      struct error *err)
{
	*ret = false;
	if (node == NULL)
		return 0;
	if (node->kind == DOC_SCALAR && strcmp(node->text, "any") == 0)
		*ret = true;
	else if (node->kind != DOC_SCALAR || strcmp(node->text, "own") != 0)
		return doc_raise(doc, node, err, "owner must be own or any");
	return 0;
}

/* A key that every row must have. */
static int need(const struct doc *doc, const struct doc_node *row, const char *key,
		const struct doc_node **ret, struct error *err)
{
	*ret = doc_get(row, key);
	return *ret != NULL ? 0 : doc_raise(doc, row, err, "this row lacks `%s:`", key);
}

static int read_row(const struct doc *doc, const struct doc_node *node, struct policy_row *row,
		    struct error *err)
{
	static const char *const known[] = { "who", "may", "bundles", "owner" };
	const struct doc_node *who = NULL, *may = NULL, *bundles = NULL;
	int r;

	r = doc_check_keys(doc, node, known, ARRAY_SIZE(known), err);
	if (r == 0)
		r = need(doc, node, "who", &who, err);
	if (r == 0)
		r = need(doc, node, "may", &may, err);
	if (r == 0)
		r = need(doc, node, "bundles", &bundles, err);
	if (r == 0)
		r = read_who(doc, who, row, err);
	if (r == 0)
		r = read_verbs(doc, may, &row->verbs, err);
	if (r == 0)
		r = read_owner(doc, doc_get(node, "owner"), &row->any_owner, err);
	if (r < 0)
		return r;
	row->line = node->line;
	return doc_strings(doc, bundles, "bundles", &row->bundles, &row->n_bundles, err);
}

int policy_from_doc(const struct doc *doc, struct policy **ret, struct error *err)
{
	_cleanup_(policy_freep) struct policy *policy = calloc(1, sizeof(*policy));
	const struct doc_node *root = doc->root;

	if (policy == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
	if (root != NULL && root->kind != DOC_LIST)
		return doc_raise(doc, root, err, "a policy is a list of rows (`- who: ...`)");
	if (root != NULL && root->n > 0) {
		policy->rows = calloc(root->n, sizeof(*policy->rows));
		if (policy->rows == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
		policy->n_rows = root->n;
	}
	for (size_t i = 0; i < policy->n_rows; i++) {
		int r = read_row(doc, root->values[i], &policy->rows[i], err);

		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(policy);
	return 0;
}

int policy_load(const char *path, struct policy **ret, struct error *err)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	int r;

	r = doc_load(path, &doc, err);
	if (r < 0)
		return r;
	return policy_from_doc(doc, ret, err);
}
