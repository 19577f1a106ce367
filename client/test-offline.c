/*
 * Keys and bundles without a daemon, as processes and against stock minisign. Arguments: the CLI, a
 * built bundle, another one, a folder with a bundle.yaml, the folder of its objects.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "client/exit.h"
#include "client/file.h"
#include "client/test-process.h"

#define BUNDLE_MAX ((size_t)16 << 20)

static const char *cli, *built, *other, *yaml_folder, *object_folder;
static char directory[64];

static void assert_contains(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\"\nis not in\n%s", part, text);
}

/* Words of the line that begin with @ are files of the scratch folder. */
static const char *expand(const char *line)
{
	static char out[2048];
	size_t n = 0;

	for (; *line != '\0'; line++) {
		if (*line == '@')
			n += (size_t)snprintf(out + n, sizeof(out) - n, "%s/", directory);
		else
			out[n++] = *line;
		assert_true(n < sizeof(out) - 80);
	}
	out[n] = '\0';
	return out;
}

static const struct process *expect_of(const char *program, int exit_code, const char *line)
{
	const struct process *p;

	process_program = program;
	p = process_run(expand(line));
	process_program = cli;
	if (p->exit_code != exit_code)
		fail_msg("`%s %s` ended with %d, not %d\n%s%s", program, line, p->exit_code,
			 exit_code, p->out, p->err);
	return p;
}

static const struct process *expect(int exit_code, const char *line)
{
	return expect_of(cli, exit_code, line);
}

static const char *minisign(void)
{
	static const char *const paths[] = { "/usr/bin/minisign", "/usr/local/bin/minisign" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	}
	return NULL;
}

static void copy_file(const char *from, const char *name)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	char path[160];
	size_t n;

	assert_int_equal(file_read(from, BUNDLE_MAX, &bytes, &n, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	assert_int_equal(file_write(path, bytes, n, 0644, true, NULL), 0);
}

static void write_text(const char *name, const char *text)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	assert_int_equal(file_write(path, text, strlen(text), 0600, true, NULL), 0);
}

static int make_directory(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/bpfleet-offline-XXXXXX");
	assert_non_null(mkdtemp(directory));
	copy_file(built, "x.bpfb");
	(void)expect(0, "key generate --no-password -p @a.pub -s @a.key");
	(void)expect(0, "key generate --no-password -p @b.pub -s @b.key");
	return 0;
}

static int remove_directory(void **state)
{
	char command[96];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

/* ---- keys */

static void a_secret_key_is_for_its_owner_and_not_overwritten(void **state)
{
	_cleanup_free_ uint8_t *before = NULL, *after = NULL;
	char path[160];
	struct stat st;
	size_t n;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/a.key", directory);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_read(path, 4096, &before, &n, NULL), 0);
	assert_contains(expect(1, "key generate --no-password -p @new.pub -s @a.key")->err,
			"ALREADY_EXISTS");
	assert_contains(expect(1, "key generate --no-password -p @a.pub -s @new.key")->err,
			"ALREADY_EXISTS");
	assert_int_equal(file_read(path, 4096, &after, &n, NULL), 0);
	assert_string_equal((char *)before, (char *)after);
	(void)expect(0, "key generate --no-password -p @f.pub -s @f.key");
	(void)expect(0, "key generate --no-password --force -p @f.pub -s @f.key");
	(void)expect(2, "key generate --no-password --password-file x -p @g.pub -s @g.key");
	(void)expect(2, "key generate --no-password -p @g.pub -s @g.pub");
}

static void no_key_is_left_without_its_other_half(void **state)
{
	char path[160];

	(void)state;
	assert_contains(expect(1, "key generate --no-password -p @no/such.pub -s @half.key")->err,
			"no/such.pub");
	(void)snprintf(path, sizeof(path), "%s/half.key", directory);
	assert_int_equal(access(path, F_OK), -1);
	assert_contains(expect(1, "key generate --no-password -p @half.pub -s @no/such.key")->err,
			"no/such.key");
	(void)snprintf(path, sizeof(path), "%s/half.pub", directory);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_key_without_a_password_is_asked_for_by_name(void **state)
{
	char path[160];

	(void)state;
	write_text("empty", "\n");
	assert_contains(expect(2, "key generate -p @e.pub -s @e.key --password-file @empty")->err,
			"--no-password");
	assert_contains(expect(2, "key generate -p @e.pub -s @e.key")->err, "--password-file");
	(void)snprintf(path, sizeof(path), "%s/e.key", directory);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_password_is_asked_for_twice_without_echo(void **state)
{
	struct process *p = process_start_on_tty(expand("key generate -p @p.pub -s @p.key"));

	(void)state;
	process_await_tty(p, "Password for the secret key: ");
	assert_int_equal(write(p->tty_fd, "secrex\177t\n", 9), 9);
	process_await_tty(p, "Once more: ");
	assert_int_equal(write(p->tty_fd, "secret\n", 7), 7);
	process_finish(p);
	if (p->exit_code != 0)
		fail_msg("%s%s", p->out, p->err);
	assert_contains(p->out, "made key ");
	process_free(p);
	write_text("password", "secret\n");
	write_text("wrong", "secret2\n");
	(void)expect(0, "bundle sign -s @p.key --name p --password-file @password @x.bpfb");
	(void)expect(0, "bundle verify -p @p.pub @x.bpfb");
	assert_contains(
		expect(EXIT_CODE_DENIED, "bundle sign -s @p.key --password-file @wrong @x.bpfb")
			->err,
		"KEY_PASSWORD");
}

static void two_different_passwords_make_no_key(void **state)
{
	struct process *p = process_start_on_tty(expand("key generate -p @q.pub -s @q.key"));
	char path[160];

	(void)state;
	process_await_tty(p, "Password for the secret key: ");
	assert_int_equal(write(p->tty_fd, "one\n", 4), 4);
	process_await_tty(p, "Once more: ");
	assert_int_equal(write(p->tty_fd, "two\n", 4), 4);
	process_finish(p);
	assert_int_equal(p->exit_code, EXIT_CODE_DENIED);
	assert_contains(p->err, "the two passwords differ");
	process_free(p);
	(void)snprintf(path, sizeof(path), "%s/q.key", directory);
	assert_int_equal(access(path, F_OK), -1);
}

static void control_c_at_the_password_makes_no_key(void **state)
{
	struct process *p = process_start_on_tty(expand("key generate -p @q.pub -s @q.key"));

	(void)state;
	process_await_tty(p, "Password for the secret key: ");
	assert_int_equal(write(p->tty_fd, "one\003", 4), 4);
	process_finish(p);
	assert_int_equal(p->exit_code, EXIT_CODE_FAILED);
	assert_contains(p->err, "CANCELLED");
	process_free(p);
}

/* ---- signatures */

static void several_signers_count_once_each(void **state)
{
	(void)state;
	copy_file(built, "many.bpfb");
	assert_contains(expect(EXIT_CODE_UNVERIFIED, "bundle verify -p @a.pub @many.bpfb")->err,
			"BUNDLE_UNSIGNED");
	(void)expect(0, "bundle sign -s @a.key @many.bpfb");
	(void)expect(0, "bundle sign -s @a.key --name again @many.bpfb");
	(void)expect(0, "bundle verify -p @a.pub -p @b.pub @many.bpfb");
	assert_contains(expect(EXIT_CODE_UNVERIFIED,
			       "bundle verify --threshold 2 -p @a.pub -p @b.pub @many.bpfb")
				->err,
			"SIGNATURE_THRESHOLD");
	assert_contains(expect(1, "bundle sign -s @b.key @many.bpfb")->err,
			"the signature of another key");
	(void)expect(0, "bundle sign -s @b.key --name bob @many.bpfb");
	assert_contains(
		expect(0, "bundle verify --threshold 2 -p @a.pub -p @b.pub @many.bpfb")->out,
		"timestamp:");
	(void)expect(2, "bundle verify --threshold 3 -p @a.pub -p @b.pub @many.bpfb");
	(void)expect(2, "bundle sign -s @b.key --name ../up @many.bpfb");
}

static void an_altered_bundle_and_a_foreign_key_are_refused(void **state)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	char path[160];
	size_t n;

	(void)state;
	copy_file(built, "altered.bpfb");
	(void)expect(0, "bundle sign -s @a.key @altered.bpfb");
	assert_contains(expect(EXIT_CODE_UNVERIFIED, "bundle verify -p @b.pub @altered.bpfb")->err,
			"SIGNER_UNTRUSTED");
	assert_int_equal(file_read(built, BUNDLE_MAX, &bytes, &n, NULL), 0);
	bytes[n / 2] ^= 1;
	(void)snprintf(path, sizeof(path), "%s/altered.bpfb", directory);
	assert_int_equal(file_write(path, bytes, n, 0644, true, NULL), 0);
	assert_contains(expect(EXIT_CODE_UNVERIFIED, "bundle verify -p @a.pub @altered.bpfb")->err,
			"SIGNATURE_INVALID");
	assert_contains(expect(EXIT_CODE_UNVERIFIED, "bundle inspect -p @a.pub @altered.bpfb")->err,
			"SIGNATURE_INVALID");
}

static void a_file_that_holds_no_key_is_refused_by_name(void **state)
{
	(void)state;
	write_text("nokey", "untrusted comment: hello\nthis is no key\n");
	assert_contains(expect(1, "bundle verify -p @nokey @x.bpfb")->err, "/nokey: ");
	assert_contains(expect(1, "bundle verify -p @a.key @x.bpfb")->err, "KEY_MALFORMED");
	assert_contains(expect(1, "bundle inspect -p @a.pub -p @nokey @x.bpfb")->err,
			"KEY_MALFORMED");
}

static void only_bundles_are_signed(void **state)
{
	(void)state;
	write_text("note", "not a bundle at all, only a note\n");
	assert_contains(expect(1, "bundle sign -s @a.key @note")->err, "BUNDLE_MALFORMED");
	assert_contains(expect(1, "bundle verify -p @a.pub /dev/null")->err, "/dev/null is empty");
	assert_contains(expect(1, "bundle sign -s @a.key @nothing")->err,
			"/nothing: no such file or directory");
	assert_contains(expect(1, "bundle sign -s @a.pub @x.bpfb")->err, "KEY_MALFORMED");
}

static void stock_minisign_accepts_what_is_signed_here(void **state)
{
	const struct process *p;

	(void)state;
	if (minisign() == NULL)
		skip();
	copy_file(built, "ours.bpfb");
	(void)expect(0, "bundle sign -s @a.key @ours.bpfb");
	p = expect_of(minisign(), 0, "-V -m @ours.bpfb -p @a.pub");
	assert_contains(p->out, "Signature and comment signature verified");
	assert_contains(p->out, "\tfile:ours.bpfb\thashed");
	(void)expect_of(minisign(), 1, "-V -m @ours.bpfb -p @b.pub");
}

static void what_stock_minisign_signs_is_accepted_here(void **state)
{
	(void)state;
	if (minisign() == NULL)
		skip();
	copy_file(built, "theirs.bpfb");
	(void)expect_of(minisign(), 0, "-G -W -f -p @m.pub -s @m.key");
	(void)expect_of(minisign(), 0, "-S -W -s @m.key -m @theirs.bpfb");
	(void)expect(0, "bundle verify -p @m.pub @theirs.bpfb");
	/* And its key signs here, ours there. */
	(void)expect(0, "bundle sign -s @m.key @theirs.bpfb");
	(void)expect_of(minisign(), 0, "-V -m @theirs.bpfb -p @m.pub");
	copy_file(built, "theirs2.bpfb");
	(void)expect_of(minisign(), 0, "-S -W -s @a.key -m @theirs2.bpfb");
	(void)expect(0, "bundle verify -p @a.pub @theirs2.bpfb");
}

static void stock_minisign_reads_an_encrypted_key_of_ours(void **state)
{
	struct process *p;

	(void)state;
	if (minisign() == NULL)
		skip();
	/* The key that the test of the prompts made. */
	copy_file(built, "enc.bpfb");
	process_program = minisign();
	p = process_start_on_tty(expand("-S -s @p.key -m @enc.bpfb"));
	process_program = cli;
	process_await_err(p, "Password:");
	assert_int_equal(write(p->tty_fd, "secret\n", 7), 7);
	process_finish(p);
	if (p->exit_code != 0)
		fail_msg("%s%s", p->out, p->err);
	process_free(p);
	(void)expect(0, "bundle verify -p @p.pub @enc.bpfb");
}

/* ---- bundles */

static void a_build_gives_the_same_bytes_again(void **state)
{
	_cleanup_free_ uint8_t *a = NULL, *b = NULL;
	char line[512], path[160];
	size_t n_a, n_b;

	(void)state;
	(void)snprintf(line, sizeof(line), "bundle build %s --object-dir %s -o @built.bpfb",
		       yaml_folder, object_folder);
	assert_contains(expect(0, line)->out, "not signed yet");
	(void)snprintf(path, sizeof(path), "%s/built.bpfb", directory);
	assert_int_equal(file_read(path, BUNDLE_MAX, &a, &n_a, NULL), 0);
	assert_int_equal(file_read(built, BUNDLE_MAX, &b, &n_b, NULL), 0);
	assert_int_equal(n_a, n_b);
	assert_memory_equal(a, b, n_a);
	assert_contains(expect(1, "bundle build @nowhere")->err, "nowhere");
}

static void inspection_says_that_nothing_was_verified(void **state)
{
	const struct process *p;

	(void)state;
	copy_file(built, "look.bpfb");
	assert_contains(expect(0, "bundle inspect @look.bpfb")->out, "NOT VERIFIED");
	(void)expect(0, "bundle sign -s @a.key @look.bpfb");
	assert_contains(expect(0, "bundle inspect @look.bpfb")->out, "claims to be signed by");
	assert_contains(expect(0, "bundle inspect @look.bpfb")->out,
			"hook_packets_total      counter");
	p = expect(0, "bundle inspect -p @a.pub @look.bpfb");
	assert_null(strstr(p->out, "NOT VERIFIED"));
	assert_contains(p->out, "signed by");
	assert_contains(p->out, "PROGRAM");
	assert_contains(p->out, "(as compiled)");
	assert_contains(p->out, "MAP");
	p = expect(0, "--output json bundle inspect @look.bpfb");
	assert_contains(p->err, "not verified");
	assert_contains(p->out, "\"need\": \"NEED_REQUIRED\"");
}

static void a_diff_names_what_changed(void **state)
{
	char line[512];

	(void)state;
	(void)snprintf(line, sizeof(line), "bundle diff %s %s", built, built);
	assert_string_equal(expect(0, line)->out, "no difference\n");
	(void)snprintf(line, sizeof(line), "--output json bundle diff %s %s", built, built);
	assert_contains(expect(0, line)->out, "{\"differences\":[],\"maps\":[");
	assert_contains(expect(0, line)->out, "{\"outcome\":\"kept\",\"map\":\"");
	(void)snprintf(line, sizeof(line), "bundle diff %s %s", built, other);
	assert_contains(expect(0, line)->out, "~ bundle: name: ");
	(void)snprintf(line, sizeof(line), "--output json bundle diff %s %s", built, other);
	assert_contains(expect(0, line)->out, "{\"change\":\"ADDED\",\"object\":\"");
}

static void help_and_version_need_nothing(void **state)
{
	(void)state;
	assert_contains(expect(0, "help")->out, "bundle build");
	assert_contains(expect(0, "help bundle")->out, "sign");
	assert_contains(expect(2, "help nope")->err, "there is no command 'nope'");
	assert_contains(expect(2, "help laod")->err, "did you mean 'load'?");
	assert_contains(expect(2, "help bundle sing")->err, "did you mean 'sign'?");
	assert_contains(expect(0, "help bundle sign")->out, "Usage: bpfleet bundle sign");
	assert_contains(expect(0, "load --help")->out, "--durability");
	assert_contains(expect(0, "--version")->out, "bpfleet ");
	assert_contains(expect(0, "--output json version")->out, "{\"version\":\"");
	assert_contains(expect(0, "completion bash")->out, "complete -F");
	assert_contains(expect(0, "help --format man")->out, ".TH BPFLEET");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_secret_key_is_for_its_owner_and_not_overwritten),
		cmocka_unit_test(no_key_is_left_without_its_other_half),
		cmocka_unit_test(a_key_without_a_password_is_asked_for_by_name),
		cmocka_unit_test(a_password_is_asked_for_twice_without_echo),
		cmocka_unit_test(two_different_passwords_make_no_key),
		cmocka_unit_test(control_c_at_the_password_makes_no_key),
		cmocka_unit_test(several_signers_count_once_each),
		cmocka_unit_test(an_altered_bundle_and_a_foreign_key_are_refused),
		cmocka_unit_test(a_file_that_holds_no_key_is_refused_by_name),
		cmocka_unit_test(only_bundles_are_signed),
		cmocka_unit_test(stock_minisign_accepts_what_is_signed_here),
		cmocka_unit_test(what_stock_minisign_signs_is_accepted_here),
		cmocka_unit_test(stock_minisign_reads_an_encrypted_key_of_ours),
		cmocka_unit_test(a_build_gives_the_same_bytes_again),
		cmocka_unit_test(inspection_says_that_nothing_was_verified),
		cmocka_unit_test(a_diff_names_what_changed),
		cmocka_unit_test(help_and_version_need_nothing),
	};

	if (argc != 6)
		return 2;
	cli = process_program = argv[1];
	built = argv[2];
	other = argv[3];
	yaml_folder = argv[4];
	object_folder = argv[5];
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
