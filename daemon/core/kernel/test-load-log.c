#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/kernel/load-private.h"

static void assert_verdict(const char *log, const char *expected)
{
	char out[160];

	load_log_verdict(log, out, sizeof(out));
	assert_string_equal(out, expected);
}

static void the_reason_stands_behind_the_last_instruction(void **state)
{
	(void)state;
	assert_verdict("0: R1=ctx() R10=fp0\n"
		       "; return *(int *)(long)ctx->data;\n"
		       "1: (61) r0 = *(u32 *)(r2 +0)\n"
		       "invalid access to packet, off=0 size=4, R2(id=0,off=0,r=0)\n"
		       "R2 offset is outside of the packet\n"
		       "verification time 97 usec\n"
		       "stack depth 0\n"
		       "processed 3 insns (limit 1000000) max_states_per_insn 0\n",
		       "invalid access to packet, off=0 size=4, R2(id=0,off=0,r=0); "
		       "R2 offset is outside of the packet");
	assert_verdict("from 3 to 5: R0=0\n5: (95) exit\n5: R0_w=1\nR0 !read_ok\n", "R0 !read_ok");
	assert_verdict("7: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access 'scalar'",
		       "R0 invalid mem access 'scalar'");
}

static void a_log_without_instructions_is_its_own_reason(void **state)
{
	(void)state;
	assert_verdict("unreachable insn 3\nprocessed 0 insns\n", "unreachable insn 3");
	assert_verdict("one\ntwo\nthree\n", "one; two");
}

static void a_log_that_says_nothing_gives_nothing(void **state)
{
	char small[8];

	(void)state;
	assert_verdict("", "");
	assert_verdict("\n\n", "");
	assert_verdict("0: (95) exit\nprocessed 1 insns\n", "");
	load_log_verdict("a long reason", small, sizeof(small));
	assert_string_equal(small, "a long ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reason_stands_behind_the_last_instruction),
		cmocka_unit_test(a_log_without_instructions_is_its_own_reason),
		cmocka_unit_test(a_log_that_says_nothing_gives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
