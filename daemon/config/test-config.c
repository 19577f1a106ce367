#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/config/config.h"
#include "daemon/config/doc.h"

#define IDS "core_uid: 60001\ncore_gid: 60001\nfront_uid: 60002\nfront_gid: 60003\n"

static int read_text(const char *text, struct config **ret, struct error *err)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	int r;

	r = doc_parse("c.yaml", text, strlen(text), &doc, err);
	if (r < 0)
		return r;
	return config_from_doc(doc, "/etc/x/c.yaml", ret, err);
}

static void what_is_not_given_has_its_default(void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(read_text(IDS, &c, &err), 0);
	assert_string_equal(c->state_dir, "/var/lib/bpfleet");
	assert_string_equal(c->run_dir, "/run/bpfleet");
	assert_string_equal(c->bpffs_dir, "/sys/fs/bpf/bpfleet");
	assert_string_equal(c->socket, "/run/bpfleet/bpfleet.sock");
	assert_string_equal(c->fd_socket, "/run/bpfleet/fd.sock");
	assert_string_equal(c->policy, "/etc/x/policy.yaml");
	assert_string_equal(c->trust, "/etc/x/trust.yaml");
	assert_non_null(strstr(c->libexec_dir, "/bpfleet"));
	assert_int_equal(c->socket_mode, 0666);
	assert_int_equal(c->log_level, LOG_LEVEL_INFO);
	assert_int_equal(c->core_uid, 60001);
	assert_int_equal(c->front_gid, 60003);
	assert_int_equal(c->limits.n_connections, 256);
	assert_int_equal(c->statistics.window_ms, 1000);
	assert_int_equal(c->statistics.every_s, 30);
	assert_int_equal(c->limits.bundles_size_bytes, 512u << 20);
}

static void what_is_given_is_taken(void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(read_text(IDS "state_dir: /a/b///\nrun_dir: /r\nsocket: /s\n"
				       "socket_mode: 0660\nlog_level: debug\npolicy: /p\n"
				       "limits: {workers: 2, audit_rows: 5000}\n"
				       "statistics: {every_s: 0}\n",
				   &c, &err),
			 0);
	assert_string_equal(c->state_dir, "/a/b");
	assert_string_equal(c->socket, "/s");
	assert_string_equal(c->fd_socket, "/r/fd.sock");
	assert_string_equal(c->policy, "/p");
	assert_int_equal(c->socket_mode, 0660);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c->limits.n_workers, 2);
	assert_int_equal(c->limits.n_audit_rows, 5000);
	assert_int_equal(c->limits.n_calls, 64);
	assert_int_equal(c->statistics.every_s, 0);
	assert_int_equal(c->statistics.window_ms, 1000);
}

static void names_of_users_and_groups_are_looked_up(void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(
		read_text("core_uid: daemon\nfront_uid: nobody\nfront_gid: bin\n", &c, &err), 0);
	assert_int_equal(c->core_uid, 1);
	assert_int_equal(c->core_gid, 1);
	assert_int_equal(c->front_uid, 65534);
	assert_int_equal(c->front_gid, 2);
}

static void wrong_values_are_refused_with_their_line(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} cases[] = {
		{ IDS "stat_dir: /x\n",
		  "c.yaml:5: unknown key 'stat_dir'; did you mean 'state_dir'?" },
		{ IDS "state_dir: x\n", "c.yaml:5: state_dir must be an absolute path below /" },
		{ IDS "state_dir: /\n", "c.yaml:5: state_dir must be an absolute path below /" },
		{ IDS "state_dir: /a/../b\n",
		  "c.yaml:5: state_dir must be an absolute path below /" },
		{ IDS "bpffs_dir: /a/..\n",
		  "c.yaml:5: bpffs_dir must be an absolute path below /" },
		{ IDS "socket_mode: 0999\n", "c.yaml:5: socket_mode must be octal, like 0660" },
		{ IDS "socket_mode: [1]\n", "c.yaml:5: socket_mode must be octal, like 0660" },
		{ IDS "log_level: loud\n",
		  "c.yaml:5: log_level must be error, warning, info or debug" },
		{ IDS "limits: {workers: 0}\n", "c.yaml:5: workers must be a number from 1 to 64" },
		{ IDS "limits: {wokers: 1}\n",
		  "c.yaml:5: unknown key 'wokers'; did you mean 'workers'?" },
		{ IDS "limits: [1]\n", "c.yaml:5: expected `key: value` pairs here" },
		{ "core_uid: 5\nfront_uid: 6\nfront_gid: 6\n",
		  "c.yaml:1: core_gid must be given, as a number or a name" },
		{ "core_uid: 0\ncore_gid: 5\n",
		  "c.yaml:1: core_uid and core_gid must not be root's" },
		{ "core_uid: 5\ncore_gid: 5\nfront_uid: 5\nfront_gid: 6\n",
		  "c.yaml:3: front_uid must differ from core_uid" },
		{ "core_uid: no-such-user-here\n",
		  "c.yaml:1: core_uid: no user 'no-such-user-here' in /etc/passwd; give a number "
		  "or "
		  "make the user (deploy/systemd/bpfleet.sysusers)" },
		{ "core_uid: 5\ncore_gid: no-such-group-here\n",
		  "c.yaml:2: core_gid: no group 'no-such-group-here' in /etc/group" },
		{ "- list\n", "c.yaml:1: expected `key: value` pairs here" },
	};
	struct config *c = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		assert_int_equal(read_text(cases[i].text, &c, &err), -EINVAL);
		assert_int_equal(err.code, ERROR_CONFIG_INVALID);
		assert_string_equal(err.message, cases[i].message);
		assert_null(c);
	}
}

static void a_socket_path_fits_an_address(void **state)
{
	struct config *c = NULL;
	struct error err = { 0 };
	char text[512];

	(void)state;
	(void)snprintf(text, sizeof(text), IDS "socket: /%0*d\n", 107, 1);
	assert_int_equal(read_text(text, &c, &err), -EINVAL);
	assert_string_equal(err.message, "c.yaml:5: socket is longer than 107 bytes");
	(void)snprintf(text, sizeof(text), IDS "socket: /%0*d\n", 106, 1);
	assert_int_equal(read_text(text, &c, &err), 0);
	config_free(c);
}

static void a_relative_path_of_the_file_is_refused(void **state)
{
	struct config *c = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(config_load("bpfleetd.yaml", &c, &err), -EINVAL);
	assert_int_equal(config_load("/nonexistent/bpfleetd.yaml", &c, &err), -EINVAL);
	assert_int_equal(err.sys_errno, ENOENT);
}

static void a_marker_in_state_or_run_directory_holds_the_host(void **state)
{
	char folder[] = "/tmp/bpfleet-held-XXXXXX";
	char run_dir[64], path[80];
	struct config c = { .state_dir = folder, .run_dir = run_dir };

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(run_dir, sizeof(run_dir), "%s/run", folder);
	assert_false(config_is_held(&c));
	assert_int_equal(mkdir(run_dir, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/held", run_dir);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	assert_true(config_is_held(&c));
	assert_int_equal(unlink(path), 0);
	assert_false(config_is_held(&c));
	(void)snprintf(path, sizeof(path), "%s/held", folder);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	assert_true(config_is_held(&c));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(run_dir), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_given_has_its_default),
		cmocka_unit_test(what_is_given_is_taken),
		cmocka_unit_test(names_of_users_and_groups_are_looked_up),
		cmocka_unit_test(wrong_values_are_refused_with_their_line),
		cmocka_unit_test(a_socket_path_fits_an_address),
		cmocka_unit_test(a_relative_path_of_the_file_is_refused),
		cmocka_unit_test(a_marker_in_state_or_run_directory_holds_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
