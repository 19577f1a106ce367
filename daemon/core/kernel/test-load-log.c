#define _GNU_SOURCE
#include <bpf/btf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/kernel/load-private.h"

static void assert_verdict(const char *log, const char *expected)
{
	struct load_log read;

	load_log_read(log, &read);
	assert_string_equal(read.verdict, expected);
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

static void states_of_a_loop_are_not_its_reason(void **state)
{
	(void)state;
	assert_verdict("0: (05) goto pc-1\ninfinite loop detected at insn 0\n"
		       "cur state: R1=ctx() R10=fp0\nold state: R1=ctx() R10=fp0\n"
		       "processed 9 insns (limit 1000000)\n",
		       "infinite loop detected at insn 0");
}

static void a_log_that_says_nothing_gives_nothing(void **state)
{
	static char longest[2000];
	struct load_log read;

	(void)state;
	assert_verdict("", "");
	assert_verdict("\n\n", "");
	assert_verdict("0: (95) exit\nprocessed 1 insns\n", "");
	memset(longest, 'x', sizeof(longest) - 1);
	load_log_read(longest, &read);
	assert_int_equal(strlen(read.verdict), sizeof(read.verdict) - 1);
	assert_int_equal(read.insn, UINT32_MAX);
	memset(longest, ';', sizeof(longest) - 1);
	load_log_read(longest, &read);
	assert_int_equal(strlen(read.source), sizeof(read.source) - 1);
}

static void assert_place(const char *log, const char *file, uint32_t line, const char *source,
			 uint32_t insn)
{
	struct load_log read;

	load_log_read(log, &read);
	assert_string_equal(read.file, file);
	assert_int_equal(read.line, line);
	assert_string_equal(read.source, source);
	assert_int_equal(read.insn, insn);
}

static void the_last_line_of_source_is_where_it_was(void **state)
{
	(void)state;
	assert_place("; int k = 0; @ st.c:8\n0: (b7) r1 = 0 ; R1=0\n"
		     "; *v += 1; @ st.c:9\n7: (79) r1 = *(u64 *)(r0 +0)\n"
		     "R0 invalid mem access 'map_value_or_null'\nprocessed 7 insns\n",
		     "st.c", 9, "*v += 1;", 7);
	/* What the compiler made up is of no line. */
	assert_place(
		"; *v += 1; @ st.c:9\n2: (bf) r2 = r10\n;  @ st.c:0\n3: (07) r2 += -4\nR2 bad\n",
		"st.c", 9, "*v += 1;", 3);
	assert_place("; a @ b @ c.h:77\n1: (95) exit\nbad\n", "c.h", 77, "a @ b", 1);
	/* Before Linux 6.9. */
	assert_place("; return x @ 7;\n12: (95) exit\nbad\n", "", 0, "return x @ 7;", 12);
	assert_place("12: (95) exit\nbad\n", "", 0, "", 12);
	/* The brief log has no instructions. */
	assert_place("; for (;;) @ st.c:7\ninfinite loop detected at insn 0\n", "st.c", 7,
		     "for (;;)", UINT32_MAX);
}

static void figures_are_those_of_the_log(void **state)
{
	uint32_t depths[3];
	Bpfleet__V1__VerifierFigures figures = BPFLEET__V1__VERIFIER_FIGURES__INIT;

	(void)state;
	figures.stack_depths = depths;
	load_log_figures("verification time 97 usec\nstack depth 16+0+264\n"
			 "processed 3012 insns (limit 1000000) max_states_per_insn 4 "
			 "total_states 112 peak_states 111 mark_read 5\n",
			 &figures, 3);
	assert_int_equal(figures.processed_insns, 3012);
	assert_int_equal(figures.max_states_per_insn, 4);
	assert_int_equal(figures.total_states, 112);
	assert_int_equal(figures.peak_states, 111);
	assert_int_equal(figures.verification_time_ns, 97000);
	assert_int_equal(figures.n_stack_depths, 3);
	assert_int_equal(depths[0], 16);
	assert_int_equal(depths[2], 264);
	load_log_figures("stack depth 1+2+3+4+5\n", &figures, 3);
	assert_int_equal(figures.n_stack_depths, 3);
	load_log_figures("", &figures, 3);
	assert_int_equal(figures.processed_insns, 0);
	assert_int_equal(figures.verification_time_ns, 0);
	assert_int_equal(figures.n_stack_depths, 0);
}

static void addresses_of_the_kernel_are_not_told(void **state)
{
	char log[] = "4: (18) r1 = 0xffff888104428800       ; R1=map_ptr(ks=4)\n"
		     "5: (18) r2 = 0xffff                   ; R2=0xffffffffffffffff\n";

	(void)state;
	load_log_hide_addresses(log);
	assert_string_equal(log, "4: (18) r1 = 0x????????????????       ; R1=map_ptr(ks=4)\n"
				 "5: (18) r2 = 0xffff                   ; R2=0xffffffffffffffff\n");
}

/* ---- what the object knows of its source */

struct object {
	Bpfleet__V1__Object message;
	struct btf *btf;
};

static void object_open(struct object *object)
{
	static uint8_t bytes[1 << 20];
	FILE *stream = fopen(BPFLEET_FIXTURES "/rejected.bpf.o", "re");

	assert_non_null(stream);
	bpfleet__v1__object__init(&object->message);
	object->message.elf.data = bytes;
	object->message.elf.len = fread(bytes, 1, sizeof(bytes), stream);
	(void)fclose(stream);
	object->btf = btf__parse_elf(BPFLEET_FIXTURES "/rejected.bpf.o", NULL);
	assert_non_null(object->btf);
}

static struct load_log find(const struct object *object, const char *program, uint32_t n_insns,
			    const char *text)
{
	struct load_log log;

	load_log_read(text, &log);
	load_line_find(&object->message, object->btf, program, n_insns, &log);
	return log;
}

static void an_instruction_is_found_in_the_source(void **state)
{
	struct object object;
	struct load_log log;

	(void)state;
	object_open(&object);
	log = find(&object, "endless", 100, "0: (18) r1 = 0x0\nbad\n");
	assert_string_equal(log.file, "rejected.bpf.c");
	assert_string_equal(log.source, "while (wanted == 3)");
	assert_int_equal(log.line, 28);
	log = find(&object, "unchecked", 100, "8: (db) lock *(u64 *)(r0 +0) += r1\nbad\n");
	assert_string_equal(log.source, "__sync_fetch_and_add(count, 1);");
	/* Of a function that was appended nothing is known, nor of a program that is not there. */
	assert_int_equal(find(&object, "endless", 1, "1: (95) exit\nbad\n").line, 0);
	assert_int_equal(find(&object, "none", 100, "1: (95) exit\nbad\n").line, 0);
	btf__free(object.btf);
}

static void a_line_of_source_is_found_if_there_is_one_of_it(void **state)
{
	struct object object;
	struct load_log log;

	(void)state;
	object_open(&object);
	log = find(&object, "unchecked", 1,
		   "; __sync_fetch_and_add(count, 1);\n9: (db) lock *(u64 *)(r0 +0) += r1\nbad\n");
	assert_string_equal(log.file, "rejected.bpf.c");
	assert_int_equal(log.line, 39);
	/* Two programs end so. */
	log = find(&object, "unchecked", 1, "; return XDP_PASS;\n9: (95) exit\nbad\n");
	assert_int_equal(log.line, 0);
	assert_string_equal(log.source, "return XDP_PASS;");
	log = find(&object, "unchecked", 1, "; return 5;\n9: (95) exit\nbad\n");
	assert_int_equal(log.line, 0);
	btf__free(object.btf);
}

static void an_object_that_is_none_has_no_lines(void **state)
{
	struct object object;
	size_t n;

	(void)state;
	object_open(&object);
	n = object.message.elf.len;
	for (size_t cut = 0; cut < n; cut += n / 64 + 1) {
		object.message.elf.len = cut;
		assert_int_equal(find(&object, "endless", 9, "0: (95) exit\nbad\n").line, 0);
	}
	btf__free(object.btf);
}

/* .BTF.ext: the word of the header at the offset says where, behind the header, its records are. */
static uint8_t *object_records(struct object *object, size_t word)
{
	static const uint8_t header[] = { 0x9f, 0xeb, 1, 0, 32, 0, 0, 0 };
	uint8_t *at =
		memmem(object->message.elf.data, object->message.elf.len, header, sizeof(header));
	uint32_t offset;

	assert_non_null(at);
	memcpy(&offset, at + word, sizeof(offset));
	return at + sizeof(header) + 24 + offset;
}

/* Behind the size of a record a section begins: its name, its count, and its records. */
static void strings_that_are_none_are_empty(void **state)
{
	static const char at_loop[] = "0: (18) r1 = 0x0\nbad\n";
	static const char at_end[] = "; return 5;\n0: (95) exit\nbad\n";
	struct object object;
	struct load_log log;
	struct bpf_line_info *lines;
	uint32_t n, size;

	(void)state;
	object_open(&object);
	memset(object_records(&object, 8) + 4, 0xff, 4);
	assert_int_equal(find(&object, "endless", 100, at_loop).line, 0);
	memset(object_records(&object, 16) + 4, 0xff, 4);
	(void)find(&object, "endless", 100, at_loop);
	btf__free(object.btf);

	object_open(&object);
	memset(object_records(&object, 16) + 4, 0xff, 4);
	assert_int_equal(find(&object, "endless", 100, at_loop).line, 0);
	btf__free(object.btf);

	object_open(&object);
	memcpy(&size, object_records(&object, 16), sizeof(size));
	assert_int_equal(size, sizeof(*lines));
	memcpy(&n, object_records(&object, 16) + 8, sizeof(n));
	lines = (void *)(object_records(&object, 16) + 12);
	for (uint32_t i = 0; i < n; i++) {
		lines[i].file_name_off = UINT32_MAX;
		lines[i].line_off = UINT32_MAX;
	}
	log = find(&object, "endless", 100, at_loop);
	assert_string_equal(log.file, "");
	assert_string_equal(log.source, "");
	assert_true(log.line > 0);
	assert_int_equal(find(&object, "endless", 100, at_end).line, 0);
	btf__free(object.btf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reason_stands_behind_the_last_instruction),
		cmocka_unit_test(a_log_without_instructions_is_its_own_reason),
		cmocka_unit_test(states_of_a_loop_are_not_its_reason),
		cmocka_unit_test(a_log_that_says_nothing_gives_nothing),
		cmocka_unit_test(the_last_line_of_source_is_where_it_was),
		cmocka_unit_test(figures_are_those_of_the_log),
		cmocka_unit_test(addresses_of_the_kernel_are_not_told),
		cmocka_unit_test(an_instruction_is_found_in_the_source),
		cmocka_unit_test(a_line_of_source_is_found_if_there_is_one_of_it),
		cmocka_unit_test(an_object_that_is_none_has_no_lines),
		cmocka_unit_test(strings_that_are_none_are_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
