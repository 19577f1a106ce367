#include <errno.h>
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

#include "daemon/config/settings-image.h"

#define KEY "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"

struct fixture {
	char folder[32], config[64], policy[64], trust[64];
};

static void write_text(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fchmod(fileno(file), 0644), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char text[512];

	assert_non_null(f);
	(void)strcpy(f->folder, "/tmp/settings-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	(void)snprintf(f->config, sizeof(f->config), "%s/bpfleetd.yaml", f->folder);
	(void)snprintf(f->policy, sizeof(f->policy), "%s/policy.yaml", f->folder);
	(void)snprintf(f->trust, sizeof(f->trust), "%s/trust.yaml", f->folder);
	(void)snprintf(text, sizeof(text),
		       "state_dir: %s\nrun_dir: /run/x\ncore_uid: 70\ncore_gid: 70\nfront_uid: 71\n"
		       "front_gid: 71\nlimits: {instances: 7}\nlabels: {uplink: [eth0, eth1]}\n",
		       f->folder);
	write_text(f->config, text);
	write_text(f->policy, "- {who: {uid: 5}, may: [load, read], bundles: [a, b_*]}\n"
			      "- {who: {any: true}, may: all, bundles: ['*'], owner: any}\n");
	write_text(f->trust, "keys:\n- {name: k, key: " KEY ", scope: [a, b]}\n");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void)unlink(f->config);
	(void)unlink(f->policy);
	(void)unlink(f->trust);
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

static int pack(const struct fixture *f)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct error err = { 0 };
	int fd;

	if (config_load(f->config, &config, &err) < 0)
		fail_msg("%s", err.message);
	fd = settings_pack(config);
	assert_true(fd >= 0);
	return fd;
}

static struct settings *hand_over(const struct fixture *f)
{
	_cleanup_close_ int fd = pack(f);
	struct settings *settings = NULL;
	struct error err = { 0 };

	if (settings_open(fd, &settings, &err) < 0)
		fail_msg("%s", err.message);
	return settings;
}

static void all_that_was_read_arrives(void **state)
{
	struct settings *s = hand_over(*state);
	const struct policy_row *row = &s->policy->rows[0];

	assert_string_equal(s->config->state_dir, ((struct fixture *)*state)->folder);
	assert_string_equal(s->config->fd_socket, "/run/x/fd.sock");
	assert_string_equal(s->config->trust, ((struct fixture *)*state)->trust);
	assert_int_equal(s->config->limits.n_instances, 7);
	assert_int_equal(s->config->front_uid, 71);
	assert_int_equal(s->config->n_labels, 1);
	assert_string_equal(s->config->labels[0].name, "uplink");
	assert_string_equal(s->config->labels[0].values[1], "eth1");
	assert_int_equal(s->policy->n_rows, 2);
	assert_int_equal(row->id, 5);
	assert_int_equal(row->verbs, 1 << POLICY_VERB_LOAD | 1 << POLICY_VERB_READ);
	assert_int_equal(row->n_bundles, 2);
	assert_string_equal(row->bundles[1], "b_*");
	assert_true(s->policy->rows[1].any_owner);
	assert_int_equal(s->trust->threshold, 1);
	assert_string_equal(s->trust->keys[0].key, KEY);
	assert_string_equal(s->trust->keys[0].scope[1], "b");
	assert_int_equal(s->trust->n_revoked, 0);
	settings_close(s);
}

static void what_is_wrong_with_a_file_arrives_too(void **state)
{
	struct fixture *f = *state;
	struct settings *s;

	write_text(f->policy, "- {who: {uid: 5}, may: [lod], bundles: [a]}\n");
	s = hand_over(f);
	assert_null(s->policy);
	assert_int_equal(s->err.code, ERROR_CONFIG_INVALID);
	assert_non_null(strstr(s->err.message, "policy.yaml:1: unknown verb 'lod'"));
	assert_string_equal(s->config->run_dir, "/run/x");
	settings_close(s);
	write_text(f->policy, "[]\n");
	assert_int_equal(unlink(f->trust), 0);
	s = hand_over(f);
	assert_null(s->trust);
	assert_non_null(strstr(s->err.message, "trust.yaml: open"));
	settings_close(s);
}

static void settings_of_another_build_are_refused(void **state)
{
	_cleanup_close_ int fd = pack(*state);
	const off_t size = lseek(fd, 0, SEEK_END);
	struct settings *s = NULL;
	struct error err = { 0 };

	assert_int_equal(pwrite(fd, "0.0.0", 6, offsetof(struct settings_image, version)), 6);
	assert_true(settings_open(fd, &s, &err) < 0);
	assert_int_equal(err.code, ERROR_PROTOCOL);
	assert_int_equal(pwrite(fd, BPFLEET_VERSION, sizeof(BPFLEET_VERSION), 0),
			 sizeof(BPFLEET_VERSION));
	assert_int_equal(settings_open(fd, &s, NULL), 0);
	settings_close(s);
	assert_int_equal(ftruncate(fd, size - 1), 0);
	assert_true(settings_open(fd, &s, NULL) < 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_true(settings_open(fd, &s, NULL) < 0);
	assert_true(settings_open(-1, &s, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(all_that_was_read_arrives),
		TEST(what_is_wrong_with_a_file_arrives_too),
		TEST(settings_of_another_build_are_refused),
	};

	if (geteuid() != 0) {
		(void)printf("not root: files of root's cannot be made\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
