#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/resolver/resolve.h"

static const char *program, *fixtures;

static int open_fixture(const char *name)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", fixtures, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static struct resolver_places places;

/* Runs the real program, locked in as it is, and returns what it printed; the places aside. */
static struct resolver_result run_as(int target, const char *option, const char *symbol)
{
	struct resolver_result result = { 0 };
	int pair[2], status;
	pid_t pid;

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (dup2(target, 0) < 0 || dup2(pair[1], 1) < 0)
			_exit(98);
		(void)execl(program, program, option != NULL ? option : symbol,
			    option != NULL ? symbol : NULL, NULL);
		_exit(99);
	}
	(void)close(pair[1]);
	assert_int_equal(read(pair[0], &result, sizeof(result)), sizeof(result));
	places.n = result.n_places;
	assert_true(places.n <= RESOLVER_PLACES_MAX);
	assert_int_equal(read(pair[0], places.places, sizeof(places.places)),
			 places.n * sizeof(places.places[0]));
	(void)close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(result.protocol, RESOLVER_PROTOCOL);
	return result;
}

static struct resolver_result run(int target, const char *symbol)
{
	return run_as(target, NULL, symbol);
}

static struct resolver_result resolve_usdt(const char *fixture, const char *probe)
{
	_cleanup_close_ int fd = open_fixture(fixture);

	return run_as(fd, "--usdt", probe);
}

static struct resolver_result resolve(const char *fixture, const char *symbol)
{
	_cleanup_close_ int fd = open_fixture(fixture);

	return run(fd, symbol);
}

/* Where nm and readelf see the symbol: an independent look at the same file. */
static uint64_t offset_by_binutils(const char *fixture, const char *symbol, const char *options)
{
	uint64_t address = 0, offset, vaddr, size;
	char command[1024], line[256], perms[8];
	FILE *pipe;

	(void)snprintf(command, sizeof(command), "nm %s %s/%s | awk '$3 == \"%s\" { print $1 }'",
		       options, fixtures, fixture, symbol);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%lx", &address), 1);
	assert_int_equal(pclose(pipe), 0);
	(void)snprintf(command, sizeof(command),
		       "readelf -lW %s/%s | awk '$1 == \"LOAD\" { print $2, $3, $5, $7 $8 }'",
		       fixtures, fixture);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	while (fgets(line, sizeof(line), pipe) != NULL) {
		if (sscanf(line, "%lx %lx %lx %7s", &offset, &vaddr, &size, perms) == 4 &&
		    strchr(perms, 'E') != NULL && address >= vaddr && address < vaddr + size) {
			assert_int_equal(pclose(pipe), 0);
			return address - vaddr + offset;
		}
	}
	fail_msg("readelf sees no segment for %s of %s", symbol, fixture);
	return 0;
}

static void functions_are_found_where_binutils_see_them(void **state)
{
	static const char *const names[] = { "target-pie", "target-fixed" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct resolver_result r = resolve(names[i], "probe_me");
		_cleanup_close_ int fd = open_fixture(names[i]);
		struct stat st;

		assert_int_equal(r.status, RESOLVER_OK);
		assert_int_equal(r.offset, offset_by_binutils(names[i], "probe_me", ""));
		assert_true(r.size_bytes > 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(r.dev, st.st_dev);
		assert_int_equal(r.inode, st.st_ino);
		assert_int_equal(resolve(names[i], "hidden_helper").offset,
				 offset_by_binutils(names[i], "hidden_helper", ""));
	}
}

static void probes_are_found_with_their_semaphores(void **state)
{
	static const char *const names[] = { "target-probes", "target-probes-fixed" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(resolve_usdt(names[i], "demo:none").status, RESOLVER_OK);
		assert_int_equal(places.n, 1);
		assert_int_equal(resolve_usdt(names[i], "demo:counted").status, RESOLVER_OK);
		assert_int_equal(places.n, 1);
		assert_true(places.places[0].semaphore > 0);
		assert_int_equal(places.places[0].n_arguments, 1);
		assert_int_equal(places.places[0].arguments[0].type, RESOLVER_ARGUMENT_CONSTANT);
		assert_int_equal(places.places[0].arguments[0].value, 3);
	}
}

#if defined(__x86_64__)
static void the_arguments_of_a_probe_are_where_its_note_says(void **state)
{
	/* Offsets in struct pt_regs, as <sys/user.h> has its registers. */
	static const struct resolver_argument expected[] = {
		{ 0, RESOLVER_ARGUMENT_REGISTER, offsetof(struct user_regs_struct, rdi), 8, 0 },
		{ 0, RESOLVER_ARGUMENT_REGISTER, offsetof(struct user_regs_struct, rcx), 4, 1 },
		{ 0, RESOLVER_ARGUMENT_REGISTER, offsetof(struct user_regs_struct, rax), 2, 0 },
		{ 0, RESOLVER_ARGUMENT_REGISTER, offsetof(struct user_regs_struct, rdx), 1, 1 },
		{ (uint64_t)-9, RESOLVER_ARGUMENT_CONSTANT, 0, 8, 0 },
		{ (uint64_t)-20, RESOLVER_ARGUMENT_MEMORY, offsetof(struct user_regs_struct, rbp),
		  4, 1 },
		{ 0, RESOLVER_ARGUMENT_MEMORY, offsetof(struct user_regs_struct, rsi), 8, 0 },
		{ 16, RESOLVER_ARGUMENT_MEMORY, offsetof(struct user_regs_struct, r12), 4, 0 },
	};

	(void)state;
	assert_int_equal(resolve_usdt("target-probes", "demo:all").status, RESOLVER_OK);
	assert_int_equal(places.places[0].n_arguments, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const struct resolver_argument *found = &places.places[0].arguments[i];

		assert_int_equal(found->type, expected[i].type);
		assert_true(found->value == expected[i].value);
		assert_int_equal(found->register_offset, expected[i].register_offset);
		assert_int_equal(found->size, expected[i].size);
		assert_int_equal(found->is_signed, expected[i].is_signed);
	}
}
#endif

static void probes_that_programs_cannot_read_are_refused(void **state)
{
	static const struct {
		const char *probe;
		enum resolver_status status;
	} rows[] = {
		{ "demo:indexed", RESOLVER_ARGUMENT_UNSUPPORTED },
		{ "demo:global", RESOLVER_ARGUMENT_UNSUPPORTED },
		{ "demo:odd", RESOLVER_ARGUMENT_UNSUPPORTED },
		{ "demo:many", RESOLVER_ARGUMENT_UNSUPPORTED },
		{ "demo:outside", RESOLVER_NOT_EXECUTABLE },
		{ "demo:nothing", RESOLVER_PROBE_NOT_FOUND },
		{ "demo", RESOLVER_PROBE_NOT_FOUND },
		{ "other:all", RESOLVER_PROBE_NOT_FOUND },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct resolver_result r = resolve_usdt("target-probes", rows[i].probe);

		if (r.status != rows[i].status)
			fail_msg("%s: %u", rows[i].probe, r.status);
		assert_int_equal(places.n, 0);
		assert_int_equal(r.inode, 0);
	}
	assert_int_equal(resolve_usdt("target-pie", "demo:all").status, RESOLVER_PROBE_NOT_FOUND);
	assert_int_equal(resolve_usdt("done", "demo:all").status, RESOLVER_NOT_ELF);
}

static void an_offset_stays_within_its_function(void **state)
{
	struct resolver_result whole, r;
	char symbol[64];

	(void)state;
	whole = resolve("target-pie", "probe_me");
	r = resolve("target-pie", "probe_me+3");
	assert_int_equal(r.status, RESOLVER_OK);
	assert_int_equal(r.offset, whole.offset + 3);
	assert_int_equal(resolve("target-pie", "probe_me+0x3").offset, whole.offset + 3);
	(void)snprintf(symbol, sizeof(symbol), "probe_me+%llu",
		       (unsigned long long)whole.size_bytes);
	r = resolve("target-pie", symbol);
	assert_int_equal(r.status, RESOLVER_OFFSET_OUTSIDE);
	assert_int_equal(r.offset, 0);
	assert_int_equal(r.inode, 0);
}

static void a_version_picks_one_of_several(void **state)
{
	struct resolver_result v1, v2;

	(void)state;
	v1 = resolve("target-library.so", "versioned@V_1");
	v2 = resolve("target-library.so", "versioned@V_2");
	assert_int_equal(v1.status, RESOLVER_OK);
	assert_int_equal(v2.status, RESOLVER_OK);
	assert_int_not_equal(v1.offset, v2.offset);
	assert_int_equal(v2.offset, resolve("target-library.so", "versioned").offset);
	assert_int_equal(v2.offset, resolve("target-library.so", "versioned@@V_2").offset);
	assert_int_equal(resolve("target-library.so", "versioned@@V_1").status,
			 RESOLVER_SYMBOL_NOT_FOUND);
	assert_int_equal(resolve("target-library.so", "versioned@V_3").status,
			 RESOLVER_SYMBOL_NOT_FOUND);
	/* The same from .dynsym alone, where versions are in a table. */
	assert_int_equal(resolve("target-stripped.so", "versioned@V_1").offset, v1.offset);
	assert_int_equal(resolve("target-stripped.so", "versioned").offset, v2.offset);
	assert_int_equal(resolve("target-stripped.so", "versioned@@V_1").status,
			 RESOLVER_SYMBOL_NOT_FOUND);
}

static void the_c_library_is_read_whole(void **state)
{
	_cleanup_close_ int fd = -1;
	char path[256] = "";
	FILE *pipe = popen("ldd /bin/sh | awk '/libc\\.so/ { print $3 }'", "re");
	struct resolver_result r;

	(void)state;
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%255s", path), 1);
	(void)pclose(pipe);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	r = run(fd, "malloc");
	assert_int_equal(r.status, RESOLVER_OK);
	assert_true(r.offset > 0);
	assert_int_equal(run(fd, "fopen").status, RESOLVER_OK);
	assert_int_equal(run(fd, "no_such_function").status, RESOLVER_SYMBOL_NOT_FOUND);
	assert_int_equal(run(fd, "environ").status, RESOLVER_SYMBOL_NOT_FOUND);
	assert_int_equal(run(fd, "strlen").status, RESOLVER_SYMBOL_UNSUPPORTED);
}

static void a_stripped_program_has_no_such_symbol(void **state)
{
	(void)state;
	assert_int_equal(resolve("target-stripped", "probe_me").status, RESOLVER_SYMBOL_NOT_FOUND);
}

static void a_symbol_is_a_name_with_an_optional_version_and_offset(void **state)
{
	static const char *const wrong[] = { "",   "+4",  "a+",	   "a+x",   "a+-1",	    "@V",
					     "a@", "a@@", "a@@@V", "a@V@W", "a+99999999999" };
	struct resolver_symbol symbol;
	char longest[RESOLVER_SYMBOL_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(resolver_parse(wrong[i], &symbol), RESOLVER_BAD_SYMBOL);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(resolver_parse(longest, &symbol), RESOLVER_BAD_SYMBOL);
	longest[sizeof(longest) - 2] = '\0';
	assert_int_equal(resolver_parse(longest, &symbol), RESOLVER_OK);
	assert_int_equal(resolver_parse("memcpy@@GLIBC_2.14+0x10", &symbol), RESOLVER_OK);
	assert_string_equal(symbol.name, "memcpy");
	assert_string_equal(symbol.version, "GLIBC_2.14");
	assert_true(symbol.only_default);
	assert_int_equal(symbol.offset, 16);
	assert_int_equal(resolve("target-pie", "probe_me+x").status, RESOLVER_BAD_SYMBOL);
}

static int file_of(const void *bytes, size_t n)
{
	int fd = memfd_create("target", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	return fd;
}

static void what_is_no_elf_file_of_this_machine_is_said_so(void **state)
{
	_cleanup_close_ int text = file_of("#!/bin/sh\n", 10), empty = file_of("", 0);
	_cleanup_close_ int magic = file_of("\177ELF\2\1\1", 7), foreign = -1;
	_cleanup_close_ int source = open_fixture("target-pie");
	char bytes[64];

	(void)state;
	assert_int_equal(run(text, "x").status, RESOLVER_NOT_ELF);
	assert_int_equal(run(empty, "x").status, RESOLVER_NOT_ELF);
	assert_int_equal(run(magic, "x").status, RESOLVER_NOT_ELF);
	assert_int_equal(pread(source, bytes, sizeof(bytes), 0), sizeof(bytes));
	bytes[18] = 8; /* e_machine: MIPS */
	bytes[19] = 0;
	foreign = file_of(bytes, sizeof(bytes));
	assert_int_equal(run(foreign, "x").status, RESOLVER_NOT_ELF);
}

/* Every 97th byte of a real program cut off, and every 11th byte of its headers changed. */
static void a_damaged_file_is_refused_and_never_crashes_the_resolver(void **state)
{
	_cleanup_close_ int source = open_fixture("target-pie");
	_cleanup_free_ char *bytes = NULL;
	unsigned int n_failed = 0, n_tried = 0;
	struct stat st;
	size_t size;

	(void)state;
	assert_int_equal(fstat(source, &st), 0);
	size = (size_t)st.st_size;
	bytes = malloc(size);
	assert_non_null(bytes);
	assert_int_equal(pread(source, bytes, size, 0), (ssize_t)size);
	for (size_t cut = 0; cut < size; cut += 97) {
		_cleanup_close_ int fd = file_of(bytes, cut);
		struct resolver_result r;

		resolver_resolve(fd, "probe_me", &r);
		assert_true(r.status != RESOLVER_OK || r.offset < cut);
		n_failed += r.status != RESOLVER_OK;
		n_tried++;
	}
	/* The section headers are at the end, so that nothing is found without them. */
	assert_int_equal(n_failed, n_tried);
	for (size_t i = 0; i < 1024; i += 11) {
		_cleanup_close_ int fd = -1;
		struct resolver_result r;

		bytes[i] = (char)~bytes[i];
		fd = file_of(bytes, size);
		bytes[i] = (char)~bytes[i];
		resolver_resolve(fd, "probe_me", &r);
		assert_true(r.status != RESOLVER_OK || r.offset < size);
	}
}

static void two_local_functions_of_one_name_are_ambiguous(void **state)
{
	(void)state;
	assert_int_equal(resolve("target-twins", "twin").status, RESOLVER_SYMBOL_AMBIGUOUS);
	assert_int_equal(resolve("target-twins", "probe_me").status, RESOLVER_OK);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions_are_found_where_binutils_see_them),
		cmocka_unit_test(probes_are_found_with_their_semaphores),
#if defined(__x86_64__)
		cmocka_unit_test(the_arguments_of_a_probe_are_where_its_note_says),
#endif
		cmocka_unit_test(probes_that_programs_cannot_read_are_refused),
		cmocka_unit_test(an_offset_stays_within_its_function),
		cmocka_unit_test(a_version_picks_one_of_several),
		cmocka_unit_test(the_c_library_is_read_whole),
		cmocka_unit_test(a_stripped_program_has_no_such_symbol),
		cmocka_unit_test(two_local_functions_of_one_name_are_ambiguous),
		cmocka_unit_test(a_symbol_is_a_name_with_an_optional_version_and_offset),
		cmocka_unit_test(what_is_no_elf_file_of_this_machine_is_said_so),
		cmocka_unit_test(a_damaged_file_is_refused_and_never_crashes_the_resolver),
	};

	if (argc != 3) {
		(void)fprintf(stderr, "usage: %s RESOLVER FIXTURES\n", argv[0]);
		return 2;
	}
	program = argv[1];
	fixtures = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
