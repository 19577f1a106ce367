#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/config/doc.h"
#include "daemon/config/trust_file.h"

#define KEY_A "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
#define KEY_B "RWQBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
#define DIGEST_HALF "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static int read_text(const char *text, struct trust_file **ret, struct error *err)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	int r;

	r = doc_parse("t.yaml", text, strlen(text), &doc, err);
	if (r < 0)
		return r;
	return trust_file_from_doc(doc, "/nonexistent/t.yaml", ret, err);
}

static void keys_scopes_and_digests_are_read(void **state)
{
	_cleanup_(trust_file_freep) struct trust_file *t = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(read_text("threshold: 2\nkeys:\n- {name: a, key: " KEY_A
				   ", scope: ['*']}\n"
				   "- {name: b, key: " KEY_B ", scope: [packet_*, x]}\n"
				   "revoked:\n- " DIGEST_HALF DIGEST_HALF "\n",
				   &t, &err),
			 0);
	assert_int_equal(t->threshold, 2);
	assert_int_equal(t->n_keys, 2);
	assert_string_equal(t->keys[0].key, KEY_A);
	assert_int_equal(t->keys[1].line, 4);
	assert_int_equal(t->keys[1].n_scope, 2);
	assert_string_equal(t->keys[1].scope[0], "packet_*");
	assert_int_equal(t->n_revoked, 1);
	assert_memory_equal(t->revoked[0] + 48, "8899aabbccddeeff", 16);
}

static void an_empty_file_trusts_nobody(void **state)
{
	_cleanup_(trust_file_freep) struct trust_file *t = NULL;

	(void)state;
	assert_int_equal(read_text("# nobody yet\n", &t, NULL), 0);
	assert_int_equal(t->n_keys, 0);
	assert_int_equal(t->threshold, 1);
}

static void wrong_keys_are_refused_with_their_line(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} cases[] = {
		{ "threshold: 1\n", "t.yaml:1: keys must be a list of at least one key" },
		{ "keys: []\n", "t.yaml:1: keys must be a list of at least one key" },
		{ "keys:\n- {key: " KEY_A ", scope: [x]}\n", "t.yaml:2: a key needs a name" },
		{ "keys:\n- {name: a, scope: [x]}\n",
		  "t.yaml:2: a key needs either `key:` or `file:`" },
		{ "keys:\n- {name: a, key: " KEY_A ", file: x, scope: [x]}\n",
		  "t.yaml:2: a key needs either `key:` or `file:`" },
		{ "keys:\n- {name: a, key: RWQ, scope: [x]}\n",
		  "t.yaml:2: not a minisign public key: 56 characters that begin with RW" },
		{ "keys:\n- {name: a, key: " KEY_A "}\n",
		  "t.yaml:2: a key needs a scope: bundle names it may sign, or [\"*\"]" },
		{ "threshold: 2\nkeys:\n- {name: a, key: " KEY_A ", scope: [x]}\n",
		  "t.yaml:1: threshold must be a number from 1 to 1" },
		{ "threshold: 0\nkeys:\n- {name: a, key: " KEY_A ", scope: [x]}\n",
		  "t.yaml:1: threshold must be a number from 1 to 1" },
		{ "keys:\n- {name: a, key: " KEY_A ", scope: [x]}\n- {name: b, key: " KEY_A
		  ", scope: [x]}\n",
		  "t.yaml:3: key or name was given before, in line 2" },
		{ "keys:\n- {name: a, key: " KEY_A ", scope: [x]}\n- {name: a, key: " KEY_B
		  ", scope: [x]}\n",
		  "t.yaml:3: key or name was given before, in line 2" },
		{ "keys:\n- {name: a, key: " KEY_A ", scope: [x]}\nrevoked: [abc]\n",
		  "t.yaml:3: revoked takes digests of bundle files as b2sum prints them: 128 hex "
		  "digits" },
	};
	struct trust_file *t = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		assert_int_equal(read_text(cases[i].text, &t, &err), -EINVAL);
		assert_string_equal(err.message, cases[i].message);
		assert_null(t);
	}
}

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void a_key_file_is_found_beside_the_trust_file(void **state)
{
	_cleanup_(trust_file_freep) struct trust_file *t = NULL;
	char folder[] = "/tmp/bpfleet-trust-XXXXXX";
	struct error err = { 0 };
	char path[128];

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(folder));
	write_file(folder, "trust.yaml", "keys:\n- {name: a, file: a.pub, scope: ['*']}\n");
	(void)snprintf(path, sizeof(path), "%s/trust.yaml", folder);
	assert_int_equal(trust_file_load(path, &t, &err), -EINVAL);
	assert_int_equal(err.sys_errno, ENOENT);
	write_file(folder, "a.pub", KEY_A "\n");
	assert_int_equal(trust_file_load(path, &t, &err), -EINVAL);
	write_file(folder, "a.pub", "untrusted comment: minisign public key\r\n" KEY_A "\r\n");
	assert_int_equal(trust_file_load(path, &t, &err), 0);
	assert_string_equal(t->keys[0].key, KEY_A);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/a.pub", folder);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_scopes_and_digests_are_read),
		cmocka_unit_test(an_empty_file_trusts_nobody),
		cmocka_unit_test(wrong_keys_are_refused_with_their_line),
		cmocka_unit_test(a_key_file_is_found_beside_the_trust_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
