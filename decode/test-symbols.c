#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "decode/symbols.h"

/* Out of order and with other lines in between, as kallsyms has them; the ends of the kernel, of a
 * module and of a BPF program. */
static const char kallsyms[] = "ffffffff81000000 T _text\n"
			       "ffffffff81000000 T startup_64\n"
			       "ffffffff81000100 t schedule\n"
			       "0000000000000000 A fixed_percpu_data\n"
			       "ffffffff81000200 W weak_one\n"
			       "ffffffff81000180 D not_a_function\n"
			       "ffffffff82000000 T _etext\n"
			       "ffffffffc0100040 t nf_hook\t[nf_tables]\n"
			       "ffffffffc0100000 t nf_init\t[nf_tables]\n"
			       "ffffffffc0026200 t bpf_prog_0123456789abcdef_count\t[bpf]\n"
			       "no line of kallsyms\n"
			       "ffffffff81000300 T last_line_without_end";

static struct symbols *table(void)
{
	struct symbols *symbols = NULL;

	assert_int_equal(symbols_new(kallsyms, sizeof(kallsyms) - 1, &symbols, NULL), 0);
	return symbols;
}

static void an_address_is_found_in_its_function(void **state)
{
	static const struct {
		uint64_t address;
		const char *name, *module;
		uint64_t offset;
	} rows[] = {
		{ 0xffffffff81000000, "_text", NULL, 0 },
		{ 0xffffffff810000ff, "_text", NULL, 0xff },
		{ 0xffffffff81000100, "schedule", NULL, 0 },
		/* What is no function does not end one. */
		{ 0xffffffff81000190, "schedule", NULL, 0x90 },
		{ 0xffffffff81000200, "weak_one", NULL, 0 },
		{ 0xffffffff81000301, "last_line_without_end", NULL, 1 },
		{ 0xffffffffc0026210, "bpf_prog_0123456789abcdef_count", "bpf", 0x10 },
		{ 0xffffffffc010003f, "nf_init", "nf_tables", 0x3f },
		{ 0xffffffffc0100041, "nf_hook", "nf_tables", 1 },
	};
	_cleanup_(symbols_freep) struct symbols *symbols = table();
	struct symbol symbol;

	(void)state;
	assert_int_equal(symbols_n(symbols), 8);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_true(symbols_find(symbols, rows[i].address, &symbol));
		assert_string_equal(symbol.name, rows[i].name);
		assert_true((symbol.module == NULL) == (rows[i].module == NULL));
		if (symbol.module != NULL)
			assert_string_equal(symbol.module, rows[i].module);
		assert_int_equal(symbol.offset, rows[i].offset);
	}
}

static void an_address_far_behind_the_last_function_is_in_none(void **state)
{
	static const uint64_t addresses[] = {
		0,
		0x7f0012345678,
		0xffffffff80ffffff,
		0xffffffff82010000,
		0xffffffffc0036200,
		0xffffffffc0200000,
		UINT64_MAX,
	};
	_cleanup_(symbols_freep) struct symbols *symbols = table();
	struct symbol symbol;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		assert_false(symbols_find(symbols, addresses[i], &symbol));
}

static void a_kernel_that_hides_addresses_is_said_so(void **state)
{
	static const char hidden[] = "0000000000000000 T _text\n0000000000000000 t schedule\n";
	struct symbols *symbols = NULL;
	struct error err = { 0 };

	(void)state;
	assert_true(symbols_new(hidden, sizeof(hidden) - 1, &symbols, &err) < 0);
	assert_int_equal(err.code, ERROR_KERNEL_UNSUPPORTED);
	assert_non_null(strstr(err.message, "kernel.kptr_restrict"));
	assert_null(symbols);
	assert_true(symbols_new("", 0, &symbols, &err) < 0);
}

static void assert_stack(const struct symbols *symbols, const void *value, size_t n, bool build_ids,
			 const char *expected)
{
	_cleanup_(str_done) struct str out = { 0 };

	assert_int_equal(stack_json(symbols, value, n, build_ids, &out), 0);
	assert_string_equal(out.data, expected);
}

static void a_stack_is_printed_with_symbols(void **state)
{
	/* The second is the return address of a call that ends schedule(). */
	static const uint64_t stack[8] = { 0xffffffff81000200, 0xffffffff81000200,
					   0xffffffffc0100041, 0x7f0012345678,
					   0xffffffffc0200000, 0,
					   0xffffffff81000100 };
	_cleanup_(symbols_freep) struct symbols *symbols = table();

	(void)state;
	assert_stack(symbols, stack, sizeof(stack), false,
		     "[\"weak_one+0x0\",\"schedule+0x100\",\"nf_hook+0x1 [nf_tables]\","
		     "\"0x7f0012345678\",\"0xffffffffc0200000\"]");
	assert_stack(NULL, stack, 16, false, "[\"0xffffffff81000200\",\"0xffffffff81000200\"]");
	assert_stack(symbols, stack, 0, false, "[]");
	assert_stack(symbols, stack, 7, false, "[]");
}

static void a_stack_of_build_ids_is_printed_with_offsets(void **state)
{
	struct bpf_stack_build_id stack[4] = {
		{ .status = BPF_STACK_BUILD_ID_VALID, .offset = 0x1234 },
		{ .status = BPF_STACK_BUILD_ID_IP, .ip = 0x7f0012345678 },
	};

	(void)state;
	for (uint8_t i = 0; i < BPF_BUILD_ID_SIZE; i++)
		stack[0].build_id[i] = (unsigned char)(0xf0 + i);
	assert_stack(NULL, stack, sizeof(stack), true,
		     "[\"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff00010203+0x1234\",\"0x7f0012345678\"]");
}

static void the_kernels_own_list_makes_a_table(void **state)
{
	_cleanup_(symbols_freep) struct symbols *symbols = NULL;
	_cleanup_(str_done) struct str text = { 0 };
	_cleanup_fclose_ FILE *file = fopen("/proc/kallsyms", "re");
	struct error err = { 0 };
	struct symbol symbol;
	char chunk[65536];
	uint64_t address;
	size_t n;

	(void)state;
	if (file == NULL)
		skip();
	while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
		assert_int_equal(str_append_bytes(&text, chunk, n), 0);
	/* Who runs the tests may not be shown addresses. */
	if (symbols_new(text.data, text.len, &symbols, &err) < 0) {
		assert_int_equal(err.code, ERROR_KERNEL_UNSUPPORTED);
		return;
	}
	assert_true(symbols_n(symbols) > 1000);
	assert_int_equal(sscanf(strstr(text.data, " T _stext") - 16, "%lx", &address), 1);
	assert_true(symbols_find(symbols, address, &symbol));
	assert_int_equal(symbol.offset, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_found_in_its_function),
		cmocka_unit_test(an_address_far_behind_the_last_function_is_in_none),
		cmocka_unit_test(a_kernel_that_hides_addresses_is_said_so),
		cmocka_unit_test(a_stack_is_printed_with_symbols),
		cmocka_unit_test(a_stack_of_build_ids_is_printed_with_offsets),
		cmocka_unit_test(the_kernels_own_list_makes_a_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
