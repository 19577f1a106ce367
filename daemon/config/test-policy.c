#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/config/doc.h"
#include "daemon/config/policy.h"

static int read_text(const char *text, struct policy **ret, struct error *err)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	int r;

	r = doc_parse("p.yaml", text, strlen(text), &doc, err);
	if (r < 0)
		return r;
	return policy_from_doc(doc, ret, err);
}

static void rows_are_read_as_they_stand(void **state)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(
		read_text("- who: {uid: 0}\n  may: all\n  bundles: ['*']\n  owner: any\n"
			  "- who: {group: daemon}\n  may: [view, read]\n"
			  "  bundles: [packet_*, exec_watch]\n"
			  "- who: {any: true}\n  may: [view]\n  bundles: ['*']\n  owner: own\n"
			  "- who: {gid: 10}\n  may: [gc]\n  bundles: ['*']\n",
			  &p, &err),
		0);
	assert_int_equal(p->n_rows, 4);
	assert_int_equal(p->rows[0].who, POLICY_WHO_UID);
	assert_int_equal(p->rows[0].id, 0);
	assert_int_equal(p->rows[0].verbs, (1u << POLICY_N_VERBS) - 1);
	assert_true(p->rows[0].any_owner);
	assert_int_equal(p->rows[1].who, POLICY_WHO_GID);
	assert_int_equal(p->rows[1].id, 1);
	assert_int_equal(p->rows[1].line, 5);
	assert_int_equal(p->rows[1].verbs, 1u << POLICY_VERB_VIEW | 1u << POLICY_VERB_READ);
	assert_int_equal(p->rows[1].n_bundles, 2);
	assert_false(p->rows[1].any_owner);
	assert_int_equal(p->rows[2].who, POLICY_WHO_ANY);
	assert_int_equal(p->rows[3].who, POLICY_WHO_GID);
	assert_int_equal(p->rows[3].id, 10);
}

static void every_verb_has_a_name_that_reads_back(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < POLICY_N_VERBS; i++) {
		_cleanup_(policy_freep) struct policy *p = NULL;
		char text[128];

		(void)snprintf(text, sizeof(text), "- who: {uid: 1}\n  may: [%s]\n  bundles: [x]\n",
			       policy_verb_name((enum policy_verb)i));
		assert_int_equal(read_text(text, &p, NULL), 0);
		assert_int_equal(p->rows[0].verbs, 1u << i);
	}
	assert_null(policy_verb_name(POLICY_N_VERBS));
}

static void wrong_rows_are_refused_with_their_line(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} cases[] = {
		{ "who: {uid: 0}\n", "p.yaml:1: a policy is a list of rows (`- who: ...`)" },
		{ "- may: all\n  bundles: [x]\n", "p.yaml:1: this row lacks `who:`" },
		{ "- who: {uid: 0}\n  bundles: [x]\n", "p.yaml:1: this row lacks `may:`" },
		{ "- who: {uid: 0}\n  may: all\n", "p.yaml:1: this row lacks `bundles:`" },
		{ "- who: {uid: 0, gid: 1}\n  may: all\n  bundles: [x]\n",
		  "p.yaml:1: who takes one of uid, gid, group and any" },
		{ "- who: {}\n  may: all\n  bundles: [x]\n",
		  "p.yaml:1: who takes one of uid, gid, group and any" },
		{ "- who: {user: 0}\n  may: all\n  bundles: [x]\n",
		  "p.yaml:1: unknown key 'user'" },
		{ "- who: {uid: -1}\n  may: all\n  bundles: [x]\n",
		  "p.yaml:1: uid must be a number from 0 to 4294967294" },
		{ "- who: {any: yes}\n  may: all\n  bundles: [x]\n", "p.yaml:1: any must be true" },
		{ "- who: {group: no-such-group}\n  may: all\n  bundles: [x]\n",
		  "p.yaml:1: no group 'no-such-group' in /etc/group" },
		{ "- who: {uid: 0}\n  may: [view, veiw]\n  bundles: [x]\n",
		  "p.yaml:2: unknown verb 'veiw'" },
		{ "- who: {uid: 0}\n  may: view\n  bundles: [x]\n",
		  "p.yaml:2: may must be a list of verbs, or all" },
		{ "- who: {uid: 0}\n  may: []\n  bundles: [x]\n",
		  "p.yaml:2: may must be a list of verbs, or all" },
		{ "- who: {uid: 0}\n  may: all\n  bundles: []\n",
		  "p.yaml:3: bundles must be a list of at least one text" },
		{ "- who: {uid: 0}\n  may: all\n  bundles: [x]\n  owner: all\n",
		  "p.yaml:4: owner must be own or any" },
		{ "- who: {uid: 0}\n  may: all\n  bundle: [x]\n",
		  "p.yaml:3: unknown key 'bundle'; did you mean 'bundles'?" },
	};
	struct policy *p = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		assert_int_equal(read_text(cases[i].text, &p, &err), -EINVAL);
		assert_string_equal(err.message, cases[i].message);
		assert_null(p);
	}
}

static void an_empty_policy_denies_everything(void **state)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	const gid_t gids[] = { 0 };
	const struct policy_identity root = { .uid = 0, .gids = gids, .n_gids = 1 };
	const uid_t owner = 0;

	(void)state;
	assert_int_equal(read_text("", &p, NULL), 0);
	for (unsigned int verb = 0; verb < POLICY_N_VERBS; verb++) {
		struct policy_decision d =
			policy_decide(p, &root, (enum policy_verb)verb, "x", &owner);

		assert_false(d.allowed);
		assert_null(d.row);
	}
}

static void a_verb_outside_the_table_is_denied(void **state)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	const struct policy_identity root = { .uid = 0 };

	(void)state;
	assert_int_equal(
		read_text("- who: {any: true}\n  may: all\n  bundles: ['*']\n  owner: any\n", &p,
			  NULL),
		0);
	assert_true(policy_decide(p, &root, POLICY_VERB_GC, NULL, NULL).allowed);
	assert_false(policy_decide(p, &root, POLICY_N_VERBS, NULL, NULL).allowed);
}

static void the_first_row_that_allows_decides(void **state)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	const struct policy_identity me = { .uid = 5 };
	const uid_t other = 6;

	(void)state;
	assert_int_equal(
		read_text("- who: {uid: 5}\n  may: [read]\n  bundles: [a]\n"
			  "- who: {any: true}\n  may: [read]\n  bundles: ['*']\n"
			  "- who: {uid: 5}\n  may: [read]\n  bundles: ['*']\n  owner: any\n",
			  &p, NULL),
		0);
	assert_ptr_equal(policy_decide(p, &me, POLICY_VERB_READ, "a", &me.uid).row, &p->rows[0]);
	assert_ptr_equal(policy_decide(p, &me, POLICY_VERB_READ, "b", &me.uid).row, &p->rows[1]);
	assert_ptr_equal(policy_decide(p, &me, POLICY_VERB_READ, "a", &other).row, &p->rows[2]);
}

/* Subjects, each with the identities (index below) that it is about. */
static const struct {
	enum policy_who who;
	uint32_t id;
	bool about[4];
} subjects[] = {
	{ POLICY_WHO_ANY, 0, { true, true, true, true } },
	{ POLICY_WHO_UID, 0, { true, false, false, false } },
	{ POLICY_WHO_UID, 1000, { false, true, false, false } },
	{ POLICY_WHO_GID, 10, { false, true, true, false } },
	{ POLICY_WHO_GID, 1000, { false, true, false, false } },
	{ POLICY_WHO_GID, 77, { false, false, false, false } },
};
/* Patterns, each with the bundles (index below) that it covers; no bundle is always covered. */
static const struct {
	const char *pattern;
	bool covers[3];
} patterns[] = {
	{ "*", { true, true, true } },
	{ "packet_*", { true, true, false } },
	{ "packet_count", { true, true, false } },
	{ "exec_watch", { true, false, true } },
	{ "nothing", { true, false, false } },
};
static const char *const bundles[] = { NULL, "packet_count", "exec_watch" };

static const gid_t gids_user[] = { 1000, 10 };
static const gid_t gids_member[] = { 2000, 5, 10 };
static const gid_t gids_root[] = { 0 };
static const struct policy_identity identities[] = {
	{ .uid = 0, .gids = gids_root, .n_gids = 1 },
	{ .uid = 1000, .gids = gids_user, .n_gids = 2 },
	{ .uid = 2000, .gids = gids_member, .n_gids = 3 },
	{ .uid = 3000, .gids = NULL, .n_gids = 0 },
};

/* All questions to one row: 4 identities, every verb, 3 bundles, no owner, own, another's. */
static void ask_everything(const struct policy *policy, size_t subject, size_t pattern,
			   size_t *n_asked)
{
	const struct policy_row *row = &policy->rows[0];

	for (size_t who = 0; who < ARRAY_SIZE(identities); who++) {
		const uid_t owners[] = { identities[who].uid, identities[who].uid + 1 };
		const uid_t *owner[] = { NULL, &owners[0], &owners[1] };

		for (unsigned int i = 0; i < POLICY_N_VERBS * ARRAY_SIZE(bundles) * 3; i++) {
			unsigned int verb = i % POLICY_N_VERBS;
			unsigned int bundle = i / POLICY_N_VERBS % ARRAY_SIZE(bundles);
			unsigned int whose = i / POLICY_N_VERBS / ARRAY_SIZE(bundles);
			bool expected =
				subjects[subject].about[who] && patterns[pattern].covers[bundle] &&
				(row->verbs >> verb & 1) != 0 && (whose != 2 || row->any_owner);
			struct policy_decision d =
				policy_decide(policy, &identities[who], (enum policy_verb)verb,
					      bundles[bundle], owner[whose]);

			assert_int_equal(d.allowed, expected);
			assert_ptr_equal(d.row, expected ? row : NULL);
			++*n_asked;
		}
	}
}

static void one_row_allows_exactly_what_it_says(void **state)
{
	const size_t n_sets = 2 * (1 + POLICY_N_VERBS + POLICY_N_VERBS * (POLICY_N_VERBS - 1) / 2);
	size_t n_asked = 0;

	(void)state;
	for (size_t subject = 0; subject < ARRAY_SIZE(subjects); subject++) {
		for (size_t i = 0; i < ARRAY_SIZE(patterns) * (1u << POLICY_N_VERBS) * 2; i++) {
			size_t pattern = i % ARRAY_SIZE(patterns);
			char *names[] = { (char *)(uintptr_t)patterns[pattern].pattern };
			struct policy_row row = {
				.who = subjects[subject].who,
				.id = subjects[subject].id,
				.verbs = (uint32_t)(i / ARRAY_SIZE(patterns) / 2),
				.bundles = names,
				.n_bundles = 1,
				.any_owner = (i / ARRAY_SIZE(patterns)) % 2 == 1,
			};
			const struct policy policy = { .rows = &row, .n_rows = 1 };

			/* Each set of up to two verbs, and all but up to two, is enough. */
			if (__builtin_popcount(row.verbs) > 2 &&
			    __builtin_popcount(row.verbs) < POLICY_N_VERBS - 2)
				continue;
			ask_everything(&policy, subject, pattern, &n_asked);
		}
	}
	/* None, one, two of the verbs, and all but these. */
	assert_int_equal(n_asked, 6 * 5 * 2 * n_sets * 4 * POLICY_N_VERBS * 3 * 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_read_as_they_stand),
		cmocka_unit_test(every_verb_has_a_name_that_reads_back),
		cmocka_unit_test(wrong_rows_are_refused_with_their_line),
		cmocka_unit_test(an_empty_policy_denies_everything),
		cmocka_unit_test(a_verb_outside_the_table_is_denied),
		cmocka_unit_test(the_first_row_that_allows_decides),
		cmocka_unit_test(one_row_allows_exactly_what_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
