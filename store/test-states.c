#include "store/states.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "store/fixture.h"

static void numbers_are_those_of_the_proto(void **state)
{
	_cleanup_fclose_ FILE *proto = fopen("proto/bpfleet/v1/node.proto", "re");
	char line[512], want[96];
	int n_found = 0;

	(void)state;
	assert_non_null(proto);
	while (fgets(line, sizeof(line), proto) != NULL) {
		for (unsigned int s = 1; s < INSTANCE_N_STATES; s++) {
			(void)snprintf(want, sizeof(want), "  INSTANCE_STATE_%s = %u;\n",
				       instance_state_name((enum instance_state)s), s);
			n_found += strcmp(line, want) == 0;
		}
		for (unsigned int s = 1; s < LINK_N_STATES; s++) {
			(void)snprintf(want, sizeof(want), "  LINK_STATE_%s = %u;\n",
				       link_state_name((enum link_state)s), s);
			n_found += strcmp(line, want) == 0;
		}
	}
	assert_int_equal(n_found, INSTANCE_N_STATES - 1 + LINK_N_STATES - 1);
}

/* Written by hand, apart from the table: for each event, what follows from NONE, LOADING, ... ('.':
 * cannot). */
static const char *const instance_expected[INSTANCE_N_EVENTS] = {
	[INSTANCE_EVENT_LOAD] = "L.........",
	[INSTANCE_EVENT_LOADED] = ".R........",
	[INSTANCE_EVENT_LOAD_FAILED] = ".N........",
	[INSTANCE_EVENT_REAPPLY] = ".LLLLL.LL.",
	[INSTANCE_EVENT_REAPPLY_FAILED] = ".F........",
	[INSTANCE_EVENT_LINKS_NONE] = "..RRR.....",
	[INSTANCE_EVENT_LINKS_GOOD] = "..AAA.....",
	[INSTANCE_EVENT_LINKS_BAD] = "..DDD.....",
	[INSTANCE_EVENT_PINS_BAD] = "..DDD.....",
	[INSTANCE_EVENT_OVER_BUDGET] = "..QQQ...Q.",
	[INSTANCE_EVENT_RELEASED] = ".........D",
	[INSTANCE_EVENT_UNLOAD] = ".UUUUUU.UU",
	[INSTANCE_EVENT_UNLOADED] = "......N...",
	[INSTANCE_EVENT_REPLACE] = "..PPP.....",
	[INSTANCE_EVENT_REPLACED] = ".......S..",
	[INSTANCE_EVENT_REPLACE_FAILED] = ".......R..",
	[INSTANCE_EVENT_ROLLBACK] = "........P.",
	[INSTANCE_EVENT_ROLLED_BACK] = ".......R..",
	[INSTANCE_EVENT_ROLLBACK_FAILED] = ".......S..",
	[INSTANCE_EVENT_COMMIT] = "........R.",
};
static const char instance_letters[] = "NLRADFUPSQ";

static const char *const link_expected[LINK_N_EVENTS] = {
	[LINK_EVENT_ATTACH_WAITS] = "PP....",  [LINK_EVENT_ATTACHED] = "AAAAA.",
	[LINK_EVENT_ATTACH_FAILED] = "NN....", [LINK_EVENT_TARGET_GONE] = ".PGGG.",
	[LINK_EVENT_TARGET_BACK] = ".P.P..",   [LINK_EVENT_DRIFT] = "..D.D.",
	[LINK_EVENT_REBOOT] = ".PPPP.",	       [LINK_EVENT_DETACHED] = ".XXXXX",
	[LINK_EVENT_REMOVED] = ".....N",
};
static const char link_letters[] = "NPAGDX";

static void check(int after, char expected, const char *letters, const char *state,
		  const char *event)
{
	const int want = expected == '.' ? -EINVAL : (int)(strchr(letters, expected) - letters);

	if (after != want)
		fail_msg("%s after %s: %d, not %d", state, event, after, want);
}

static void every_instance_event_in_every_state_does_what_is_expected(void **state)
{
	(void)state;
	for (unsigned int e = 0; e < INSTANCE_N_EVENTS; e++)
		for (unsigned int s = 0; s < INSTANCE_N_STATES; s++)
			check(instance_state_after((enum instance_state)s, (enum instance_event)e),
			      instance_expected[e][s], instance_letters,
			      instance_state_name((enum instance_state)s),
			      instance_event_name((enum instance_event)e));
	assert_int_equal(instance_state_after(INSTANCE_N_STATES, INSTANCE_EVENT_LOAD), -EINVAL);
	assert_int_equal(instance_state_after(INSTANCE_NONE, INSTANCE_N_EVENTS), -EINVAL);
}

static void every_link_event_in_every_state_does_what_is_expected(void **state)
{
	(void)state;
	for (unsigned int e = 0; e < LINK_N_EVENTS; e++)
		for (unsigned int s = 0; s < LINK_N_STATES; s++)
			check(link_state_after((enum link_state)s, (enum link_event)e),
			      link_expected[e][s], link_letters,
			      link_state_name((enum link_state)s),
			      link_event_name((enum link_event)e));
	assert_int_equal(link_state_after(LINK_N_STATES, LINK_EVENT_REBOOT), -EINVAL);
}

/* From NONE every state is reached, and from every state NONE is reached again. */
static void no_state_is_a_dead_end(void **state)
{
	bool reached[INSTANCE_N_STATES] = { [INSTANCE_NONE] = true };
	bool leaves[INSTANCE_N_STATES] = { [INSTANCE_NONE] = true };

	(void)state;
	for (int round = 0; round < INSTANCE_N_STATES; round++)
		for (unsigned int s = 0; s < INSTANCE_N_STATES; s++)
			for (unsigned int e = 0; e < INSTANCE_N_EVENTS; e++) {
				int to = instance_state_after((enum instance_state)s,
							      (enum instance_event)e);

				if (to >= 0 && reached[s])
					reached[to] = true;
				if (to >= 0 && leaves[to])
					leaves[s] = true;
			}
	for (unsigned int s = 0; s < INSTANCE_N_STATES; s++)
		assert_true(reached[s] && leaves[s]);
}

static void the_state_of_an_instance_follows_from_all_mixes_of_links(void **state)
{
	(void)state;
	/* Each bit of mix: there are two links in that state. */
	for (unsigned int mix = 0; mix < 1u << LINK_N_STATES; mix++) {
		struct link_census census = {};
		bool bad;

		for (unsigned int s = 0; s < LINK_N_STATES; s++)
			census.n[s] = (mix >> s & 1) * 2;
		bad = (mix & (1u << LINK_PENDING_TARGET | 1u << LINK_TARGET_GONE |
			      1u << LINK_DRIFTED)) != 0;
		assert_int_equal(instance_state_of_links(&census), bad ? INSTANCE_DEGRADED
								   : mix & 1u << LINK_ATTACHED
									   ? INSTANCE_ATTACHED
									   : INSTANCE_READY);
	}
}

static void names_outside_the_enums_are_question_marks(void **state)
{
	(void)state;
	assert_string_equal(instance_state_name(INSTANCE_N_STATES), "?");
	assert_string_equal(instance_event_name(INSTANCE_N_EVENTS), "?");
	assert_string_equal(link_state_name(LINK_N_STATES), "?");
	assert_string_equal(link_event_name(LINK_N_EVENTS), "?");
	assert_string_equal(link_event_name(LINK_EVENT_REBOOT), "REBOOT");
}

static void the_document_is_what_the_table_prints(void **state)
{
	_cleanup_fclose_ FILE *file = fopen("docs/states.md", "re");
	_cleanup_free_ char *document = calloc(1, 65536);
	_cleanup_(str_done) struct str printed = {};

	(void)state;
	assert_non_null(file);
	assert_non_null(document);
	assert_in_range(fread(document, 1, 65535, file), 1000, 65534);
	states_print(&printed);
	assert_false(printed.failed);
	assert_string_equal(document, printed.data);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_those_of_the_proto),
		cmocka_unit_test(every_instance_event_in_every_state_does_what_is_expected),
		cmocka_unit_test(every_link_event_in_every_state_does_what_is_expected),
		cmocka_unit_test(no_state_is_a_dead_end),
		cmocka_unit_test(the_state_of_an_instance_follows_from_all_mixes_of_links),
		cmocka_unit_test(names_outside_the_enums_are_question_marks),
		cmocka_unit_test(the_document_is_what_the_table_prints),
	};

	/* `test-states print` writes docs/states.md anew. */
	if (argc > 1 && strcmp(argv[1], "print") == 0) {
		_cleanup_(str_done) struct str printed = {};

		states_print(&printed);
		return printed.failed || fputs(printed.data, stdout) < 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
