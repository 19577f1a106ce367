#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "daemon/sandbox/sandbox.h"
#include "daemon/supervisor/protocol.h"

#define CORE_UID 60101
#define FRONT_UID 60102
#define WAIT_NS (10 * NS_PER_SEC)

/* One daemon in a folder of its own, with its own bpffs. */
struct fixture {
	char folder[48];
	char path[8][96]; /* config, events, control, asker, notify, bpffs, state, run */
	const char *config, *events, *control, *asker, *notify, *bpffs, *state, *run;
	const char *const *extra_env;
	int notify_fd, asker_fd;
	pid_t pid;
};

static const char *bpfleetd, *child_program;

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int bind_datagram(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(chmod(path, 0666), 0);
	return fd;
}

static void write_config(const struct fixture *f)
{
	char text[1024];

	(void)snprintf(text, sizeof(text),
		       "state_dir: %s\nrun_dir: %s\nbpffs_dir: %s\nlibexec_dir: %s/libexec\n"
		       "core_uid: %d\ncore_gid: %d\nfront_uid: %d\nfront_gid: %d\n",
		       f->state, f->run, f->bpffs, f->folder, CORE_UID, CORE_UID, FRONT_UID,
		       FRONT_UID);
	write_text(f->config, text);
}

static int set_up(void **state)
{
	static const char *const names[] = { "config.yaml", "events",	   "control", "asker",
					     "notify",	    "mnt/bpfleet", "state",   "run" };
	struct fixture *f = calloc(1, sizeof(*f));
	const char **slots[8];
	char path[96];

	assert_non_null(f);
	(void)strcpy(f->folder, "/tmp/bpfleetd-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	assert_int_equal(chmod(f->folder, 0777), 0);
	slots[0] = &f->config, slots[1] = &f->events, slots[2] = &f->control;
	slots[3] = &f->asker, slots[4] = &f->notify, slots[5] = &f->bpffs;
	slots[6] = &f->state, slots[7] = &f->run;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(f->path[i], sizeof(f->path[i]), "%s/%s", f->folder, names[i]);
		*slots[i] = f->path[i];
	}
	/* As systemd mounts it: nobody but root gets past this folder. */
	(void)snprintf(path, sizeof(path), "%s/mnt", f->folder);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(mount("bpf", path, "bpf", 0, "mode=0700"), 0);
	(void)snprintf(path, sizeof(path), "%s/libexec", f->folder);
	assert_int_equal(mkdir(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/libexec/bpfleet-core", f->folder);
	assert_int_equal(symlink(child_program, path), 0);
	(void)snprintf(path, sizeof(path), "%s/libexec/bpfleet-front", f->folder);
	assert_int_equal(symlink(child_program, path), 0);
	write_text(f->events, "");
	assert_int_equal(chmod(f->events, 0666), 0);
	write_config(f);
	f->notify_fd = bind_datagram(f->notify);
	f->asker_fd = bind_datagram(f->asker);
	*state = f;
	return 0;
}

static void spawn(struct fixture *f, const char *option)
{
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (f->pid != 0)
		return;
	(void)setenv("BPFLEET_TEST_EVENTS", f->events, 1);
	(void)setenv("BPFLEET_TEST_CONTROL", f->control, 1);
	(void)setenv("NOTIFY_SOCKET", f->notify, 1);
	(void)execl(bpfleetd, "bpfleetd", "--config", f->config, option, NULL);
	_exit(99);
}

static int wait_exit(struct fixture *f)
{
	int status = -1;

	for (uint64_t end = clock_monotonic_ns() + 3 * WAIT_NS; clock_monotonic_ns() < end;) {
		if (waitpid(f->pid, &status, WNOHANG) == f->pid) {
			f->pid = 0;
			return status;
		}
		(void)usleep(2000);
	}
	fail_msg("bpfleetd does not end");
	return -1;
}

static int run(struct fixture *f, const char *option)
{
	spawn(f, option);
	return wait_exit(f);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[160];

	if (f->pid > 0) {
		(void)kill(f->pid, SIGKILL);
		(void)waitpid(f->pid, NULL, 0);
	}
	(void)close(f->notify_fd);
	(void)close(f->asker_fd);
	(void)snprintf(command, sizeof(command), "%s/mnt", f->folder);
	assert_int_equal(umount2(command, MNT_DETACH), 0);
	(void)snprintf(command, sizeof(command), "rm -rf --one-file-system %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* How often an event happened, and the pid of the last one. */
static int events(const struct fixture *f, const char *event, pid_t *ret_pid)
{
	_cleanup_fclose_ FILE *file = fopen(f->events, "re");
	char line[128];
	int n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		size_t len = strlen(event);

		if (strncmp(line, event, len) != 0 || line[len] != ' ')
			continue;
		n++;
		if (ret_pid != NULL)
			*ret_pid = atoi(line + len);
	}
	return n;
}

static pid_t wait_event(const struct fixture *f, const char *event, int n)
{
	pid_t pid = -1;

	for (uint64_t end = clock_monotonic_ns() + WAIT_NS; clock_monotonic_ns() < end;) {
		if (events(f, event, &pid) >= n)
			return pid;
		(void)usleep(2000);
	}
	fail_msg("'%s' did not happen %d times", event, n);
	return -1;
}

static void wait_gone(pid_t pid)
{
	for (uint64_t end = clock_monotonic_ns() + WAIT_NS; clock_monotonic_ns() < end;) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return;
		(void)usleep(2000);
	}
	fail_msg("process %d lives on", pid);
}

static void expect_notice(const struct fixture *f, const char *text)
{
	struct pollfd poller = { f->notify_fd, POLLIN, 0 };
	char buffer[128];
	ssize_t n;

	assert_int_equal(poll(&poller, 1, (int)(WAIT_NS / NS_PER_MS)), 1);
	n = recv(f->notify_fd, buffer, sizeof(buffer) - 1, 0);
	assert_true(n > 0);
	buffer[n] = '\0';
	assert_int_equal(strncmp(buffer, text, strlen(text)), 0);
}

static void start(struct fixture *f)
{
	spawn(f, NULL);
	expect_notice(f, "READY=1");
}

static struct supervisor_message ask(const struct fixture *f, struct supervisor_message request)
{
	struct pollfd poller = { f->asker_fd, POLLIN, 0 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct supervisor_message reply = { 0 };

	request.protocol = SUPERVISOR_PROTOCOL;
	request.serial = 7;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->control);
	assert_int_equal(sendto(f->asker_fd, &request, sizeof(request), 0,
				(struct sockaddr *)&address, sizeof(address)),
			 sizeof(request));
	assert_int_equal(poll(&poller, 1, (int)(WAIT_NS / NS_PER_MS)), 1);
	assert_int_equal(recv(f->asker_fd, &reply, sizeof(reply), 0), sizeof(reply));
	assert_int_equal(reply.type, SUPERVISOR_REPLY);
	assert_int_equal(reply.serial, 7);
	return reply;
}

static uint64_t proc_field(pid_t pid, const char *key, int base)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[64], line[256];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			return strtoull(line + strlen(key) + 1, NULL, base);
	}
	fail_msg("no %s of %d", key, pid);
	return 0;
}

static void expect_process(pid_t pid, uint64_t caps, uid_t uid)
{
	assert_int_equal(proc_field(pid, "CapEff", 16), caps);
	assert_int_equal(proc_field(pid, "CapPrm", 16), caps);
	assert_int_equal(proc_field(pid, "CapBnd", 16), caps);
	assert_int_equal(proc_field(pid, "Uid", 10), uid);
	assert_int_equal(proc_field(pid, "Gid", 10), uid);
	assert_int_equal(proc_field(pid, "NoNewPrivs", 10), 1);
	assert_int_equal(proc_field(pid, "Seccomp", 10), 2);
}

static void each_process_has_its_stated_privileges(void **state)
{
	struct fixture *f = *state;
	char path[64], target[128] = "";
	pid_t core;

	start(f);
	core = wait_event(f, "core start", 1);
	expect_process(f->pid, SANDBOX_CAPS_SUPERVISOR, 0);
	expect_process(core, SANDBOX_CAPS_CORE, CORE_UID);
	expect_process(wait_event(f, "front start", 1), 0, FRONT_UID);
	(void)snprintf(path, sizeof(path), "/proc/%d/cwd", core);
	assert_true(readlink(path, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, f->bpffs);
}

static void directories_belong_to_those_who_use_them(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char path[128];

	start(f);
	assert_int_equal(stat(f->state, &st), 0);
	assert_int_equal(st.st_uid, CORE_UID);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(f->bpffs, &st), 0);
	assert_int_equal(st.st_uid, CORE_UID);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(f->run, &st), 0);
	assert_int_equal(st.st_uid, 0);
	(void)snprintf(path, sizeof(path), "%s/bpfleet.sock", f->run);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	(void)snprintf(path, sizeof(path), "%s/fd.sock", f->run);
	assert_int_equal(stat(path, &st), 0);
}

static void a_bpffs_is_mounted_where_there_is_none(void **state)
{
	struct fixture *f = *state;
	char path[96];
	FILE *mounts;
	char line[512];
	bool found = false;

	(void)snprintf(path, sizeof(path), "%s/own", f->folder);
	f->bpffs = path;
	write_config(f);
	start(f);
	mounts = fopen("/proc/self/mounts", "re");
	assert_non_null(mounts);
	while (fgets(line, sizeof(line), mounts) != NULL) {
		char where[256], type[64];

		found = found || (sscanf(line, "%*s %255s %63s", where, type) == 2 &&
				  strcmp(where, path) == 0 && strcmp(type, "bpf") == 0);
	}
	(void)fclose(mounts);
	assert_true(found);
	assert_int_equal(kill(f->pid, SIGTERM), 0);
	assert_int_equal(wait_exit(f), 0);
	/* What the kernel puts into a fresh bpffs is nobody's pin. */
	assert_int_equal(run(f, "--detach-all"), 0);
	assert_int_equal(run(f, "--resume"), 0);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
}

static void when_core_dies_both_are_started_again(void **state)
{
	struct fixture *f = *state;
	pid_t core, front;

	start(f);
	core = wait_event(f, "core start", 1);
	front = wait_event(f, "front start", 1);
	assert_int_equal(kill(core, SIGKILL), 0);
	wait_gone(front);
	assert_int_not_equal(wait_event(f, "core start", 2), core);
	assert_int_not_equal(wait_event(f, "front start", 2), front);
	assert_int_equal(events(f, "core new-front", NULL), 0);
}

static void when_front_dies_core_stays_and_gets_a_new_front(void **state)
{
	struct fixture *f = *state;
	pid_t core;

	start(f);
	core = wait_event(f, "core start", 1);
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(kill(wait_event(f, "front start", i), SIGKILL), 0);
		assert_int_equal(wait_event(f, "core new-front", i), core);
		(void)wait_event(f, "front start", i + 1);
	}
	assert_int_equal(events(f, "core start", NULL), 1);
}

static void the_first_restart_is_immediate_and_the_next_ones_wait(void **state)
{
	struct fixture *f = *state;
	uint64_t started = clock_monotonic_ns(), second, third;

	(void)setenv("BPFLEET_TEST_DIE", "1", 1);
	spawn(f, NULL);
	(void)unsetenv("BPFLEET_TEST_DIE");
	(void)wait_event(f, "core dies", 2);
	second = clock_monotonic_ns() - started;
	(void)wait_event(f, "core dies", 4);
	third = clock_monotonic_ns() - started;
	assert_true(second < 500 * NS_PER_MS);
	assert_true(third >= 600 * NS_PER_MS);
	(void)usleep(1000000);
	assert_true(events(f, "core dies", NULL) <= 6);
	assert_int_equal(kill(f->pid, SIGTERM), 0);
	assert_int_equal(wait_exit(f), 0);
}

static void when_the_supervisor_dies_nobody_stays(void **state)
{
	struct fixture *f = *state;
	pid_t core, front;

	start(f);
	core = wait_event(f, "core start", 1);
	front = wait_event(f, "front start", 1);
	assert_int_equal(kill(f->pid, SIGKILL), 0);
	wait_gone(core);
	wait_gone(front);
	assert_int_equal(waitpid(f->pid, NULL, 0), f->pid);
	start(f);
	(void)wait_event(f, "core start", 2);
}

static void a_stop_drains_front_before_core(void **state)
{
	struct fixture *f = *state;
	char text[512] = "", path[128];
	FILE *file;

	start(f);
	assert_int_equal(kill(f->pid, SIGTERM), 0);
	expect_notice(f, "STOPPING=1");
	assert_int_equal(wait_exit(f), 0);
	file = fopen(f->events, "re");
	assert_non_null(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	(void)fclose(file);
	assert_non_null(strstr(text, "front term"));
	assert_non_null(strstr(strstr(text, "front term"), "core term"));
	(void)snprintf(path, sizeof(path), "%s/bpfleet.sock", f->run);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_hangup_brings_core_new_settings(void **state)
{
	struct fixture *f = *state;

	start(f);
	(void)wait_event(f, "core settings", 1);
	assert_int_equal(kill(f->pid, SIGHUP), 0);
	expect_notice(f, "RELOADING=1\nMONOTONIC_USEC=");
	expect_notice(f, "READY=1");
	(void)wait_event(f, "core settings", 2);
	assert_int_equal(events(f, "core start", NULL), 1);
}

static void core_learns_the_ids_of_tracepoints(void **state)
{
	struct fixture *f = *state;
	struct supervisor_message m = { .type = SUPERVISOR_TRACEPOINT_ID,
					.category = "sched",
					.name = "sched_process_exec" };
	static const char *const wrong[] = { "", "..", "../sched", "a/b", "enable\n", "no such" };
	_cleanup_fclose_ FILE *file = NULL;
	unsigned int id = 0;

	start(f);
	m = ask(f, m);
	file = fopen("/sys/kernel/tracing/events/sched/sched_process_exec/id", "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%u", &id), 1);
	assert_int_equal(m.status, 0);
	assert_int_equal(m.value, id);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		m = (struct supervisor_message){ .type = SUPERVISOR_TRACEPOINT_ID, .name = "x" };
		(void)strcpy(m.category, wrong[i]);
		assert_int_equal(ask(f, m).status, -EINVAL);
		m = (struct supervisor_message){ .type = SUPERVISOR_TRACEPOINT_ID,
						 .category = "sched" };
		(void)strcpy(m.name, wrong[i]);
		assert_int_equal(ask(f, m).status, -EINVAL);
	}
	m = (struct supervisor_message){ .type = SUPERVISOR_TRACEPOINT_ID, .name = "x" };
	memset(m.category, 'a', sizeof(m.category));
	assert_int_equal(ask(f, m).status, -EINVAL);
	m = (struct supervisor_message){ .type = SUPERVISOR_TRACEPOINT_ID,
					 .category = "sched",
					 .name = "no_such_event" };
	assert_int_equal(ask(f, m).status, -ENOENT);
}

static void core_gets_fds_it_could_not_open_itself(void **state)
{
	struct fixture *f = *state;
	struct supervisor_message m = { .type = SUPERVISOR_STATS_ON, .window_ms = 100 };
	_cleanup_close_ int kallsyms = -1;
	char line[40];

	start(f);
	m = ask(f, m);
	assert_int_equal(m.status, 0);
	assert_int_equal(m.window_ms, 1); /* an fd came along */
	m = (struct supervisor_message){ .type = SUPERVISOR_STATS_ON };
	assert_int_equal(ask(f, m).status, -EINVAL);
	m = (struct supervisor_message){ .type = SUPERVISOR_STATS_ON,
					 .window_ms = SUPERVISOR_STATS_WINDOW_MAX_MS + 1 };
	m = ask(f, m);
	assert_int_equal(m.status, -EINVAL);
	m = ask(f, (struct supervisor_message){ .type = SUPERVISOR_KALLSYMS });
	assert_int_equal(m.status, 0);
	/* What root reads there, addresses included. */
	kallsyms = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(kallsyms, line, 40, 0), 40);
	assert_memory_equal(m.category, line, 40);
	m = ask(f, (struct supervisor_message){ .type = 99 });
	assert_int_equal(m.status, -ENOSYS);
}

static void core_can_have_front_restarted(void **state)
{
	struct fixture *f = *state;
	pid_t front;

	start(f);
	front = wait_event(f, "front start", 1);
	assert_int_equal(
		ask(f, (struct supervisor_message){ .type = SUPERVISOR_RESTART_FRONT }).status, 0);
	wait_gone(front);
	(void)wait_event(f, "front start", 2);
}

static void core_that_speaks_another_protocol_is_restarted(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	start(f);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->control);
	assert_int_equal(
		sendto(f->asker_fd, "junk", 4, 0, (struct sockaddr *)&address, sizeof(address)), 4);
	(void)wait_event(f, "core start", 2);
	(void)wait_event(f, "front start", 2);
}

static void a_second_daemon_is_refused(void **state)
{
	struct fixture *f = *state;
	pid_t first;
	int status;

	start(f);
	first = f->pid;
	status = run(f, NULL);
	f->pid = first;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(events(f, "core start", NULL), 1);
	assert_int_equal(kill(first, 0), 0);
}

static int listening(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void sockets_of_the_service_manager_are_taken_and_stay(void **state)
{
	struct fixture *f = *state;
	char api[96], fds[96], number[16];
	int api_fd, fds_fd;

	(void)snprintf(api, sizeof(api), "%s/api", f->folder);
	(void)snprintf(fds, sizeof(fds), "%s/fds", f->folder);
	api_fd = listening(api, SOCK_STREAM);
	fds_fd = listening(fds, SOCK_SEQPACKET);
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (f->pid == 0) {
		(void)fcntl(fds_fd, F_DUPFD, 100);
		if (dup2(fcntl(api_fd, F_DUPFD, 100), 4) != 4 ||
		    dup2(fcntl(fds_fd, F_DUPFD, 100), 3) != 3)
			_exit(98);
		(void)snprintf(number, sizeof(number), "%d", getpid());
		(void)setenv("LISTEN_PID", number, 1);
		(void)setenv("LISTEN_FDS", "2", 1);
		(void)setenv("LISTEN_FDNAMES", "bpfleetd.socket:bpfleetd.socket", 1);
		(void)setenv("BPFLEET_TEST_EVENTS", f->events, 1);
		(void)setenv("BPFLEET_TEST_CONTROL", f->control, 1);
		(void)setenv("NOTIFY_SOCKET", f->notify, 1);
		(void)execl(bpfleetd, "bpfleetd", "--config", f->config, NULL);
		_exit(99);
	}
	expect_notice(f, "READY=1");
	(void)snprintf(number, sizeof(number), "%d", f->pid);
	{
		char path[64], api_link[64] = "", own_link[64] = "";

		/* Front's listening fd is the very socket that we made. */
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d",
			       wait_event(f, "front start", 1), SUPERVISOR_FRONT_LISTEN_FD);
		assert_true(readlink(path, api_link, sizeof(api_link) - 1) > 0);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", api_fd);
		assert_true(readlink(path, own_link, sizeof(own_link) - 1) > 0);
		assert_string_equal(api_link, own_link);
	}
	assert_int_equal(kill(f->pid, SIGTERM), 0);
	assert_int_equal(wait_exit(f), 0);
	assert_int_equal(access(api, F_OK), 0);
	assert_int_equal(access(fds, F_OK), 0);
	(void)close(api_fd);
	(void)close(fds_fd);
}

static void pin_map(const char *path, uid_t owner)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 1;
	fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	assert_true(fd >= 0);
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uint64_t)(uintptr_t)path;
	attr.bpf_fd = (uint32_t)fd;
	assert_int_equal(syscall(SYS_bpf, BPF_OBJ_PIN, &attr, sizeof(attr)), 0);
	assert_int_equal(chown(path, owner, owner), 0);
	(void)close(fd);
}

static void the_off_switch_stops_the_daemon_and_removes_our_pins_only(void **state)
{
	struct fixture *f = *state;
	char store[160], ours[200], deep[200], foreign[200], top[200], held[128];
	pid_t daemon_pid;
	int status;

	start(f);
	daemon_pid = f->pid;
	(void)snprintf(store, sizeof(store), "%s/0b1f", f->bpffs);
	(void)snprintf(ours, sizeof(ours), "%s/map", store);
	(void)snprintf(deep, sizeof(deep), "%s/links", store);
	(void)snprintf(foreign, sizeof(foreign), "%s/links/foreign", store);
	(void)snprintf(top, sizeof(top), "%s/stray", f->bpffs);
	assert_int_equal(mkdir(store, 0700), 0);
	assert_int_equal(chown(store, CORE_UID, CORE_UID), 0);
	assert_int_equal(mkdir(deep, 0700), 0);
	assert_int_equal(chown(deep, CORE_UID, CORE_UID), 0);
	pin_map(ours, CORE_UID);
	pin_map(foreign, 0);
	pin_map(top, CORE_UID);
	status = run(f, "--detach-all");
	/* Not all could go: the foreign pin, hence its directories, and the stray one. */
	assert_int_equal(WEXITSTATUS(status), 1);
	f->pid = daemon_pid;
	assert_int_equal(wait_exit(f), 0);
	assert_int_equal(access(ours, F_OK), -1);
	assert_int_equal(access(foreign, F_OK), 0);
	assert_int_equal(access(top, F_OK), 0);
	(void)snprintf(held, sizeof(held), "%s/held", f->state);
	assert_int_equal(access(held, F_OK), 0);
	assert_int_equal(unlink(foreign), 0);
	assert_int_equal(unlink(top), 0);
	assert_int_equal(run(f, "--detach-all"), 0);
	assert_int_equal(access(store, F_OK), -1);
	assert_int_equal(run(f, "--resume"), 0);
	assert_int_equal(access(held, F_OK), -1);
}

static void the_off_switch_needs_no_state_directory_and_no_bpffs(void **state)
{
	struct fixture *f = *state;
	char held[128];

	assert_int_equal(mkdir(f->run, 0755), 0);
	assert_int_equal(run(f, "--detach-all"), 0);
	(void)snprintf(held, sizeof(held), "%s/held", f->run);
	assert_int_equal(access(held, F_OK), 0);
	f->bpffs = f->folder;
	write_config(f);
	/* Not a BPF file system: refuses to sweep it. */
	assert_int_equal(WEXITSTATUS(run(f, "--detach-all")), 1);
	assert_int_equal(access(f->events, F_OK), 0);
}

static void a_wrong_configuration_is_named_and_refused(void **state)
{
	struct fixture *f = *state;
	char path[96];

	assert_int_equal(WEXITSTATUS(run(f, "--check-config")), 1);
	(void)snprintf(path, sizeof(path), "%s/policy.yaml", f->folder);
	write_text(path, "- who: {uid: 0}\n  may: all\n  bundles: ['*']\n");
	(void)snprintf(path, sizeof(path), "%s/trust.yaml", f->folder);
	write_text(path, "");
	assert_int_equal(run(f, "--check-config"), 0);
	write_text(path, "keys: 7\n");
	assert_int_equal(WEXITSTATUS(run(f, "--check-config")), 1);
	assert_int_equal(WEXITSTATUS(run(f, "--no-such-option")), 2);
	assert_int_equal(run(f, "--version"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(each_process_has_its_stated_privileges),
		TEST(directories_belong_to_those_who_use_them),
		TEST(a_bpffs_is_mounted_where_there_is_none),
		TEST(when_core_dies_both_are_started_again),
		TEST(when_front_dies_core_stays_and_gets_a_new_front),
		TEST(the_first_restart_is_immediate_and_the_next_ones_wait),
		TEST(when_the_supervisor_dies_nobody_stays),
		TEST(a_stop_drains_front_before_core),
		TEST(a_hangup_brings_core_new_settings),
		TEST(core_learns_the_ids_of_tracepoints),
		TEST(core_gets_fds_it_could_not_open_itself),
		TEST(core_can_have_front_restarted),
		TEST(core_that_speaks_another_protocol_is_restarted),
		TEST(a_second_daemon_is_refused),
		TEST(sockets_of_the_service_manager_are_taken_and_stay),
		TEST(the_off_switch_stops_the_daemon_and_removes_our_pins_only),
		TEST(the_off_switch_needs_no_state_directory_and_no_bpffs),
		TEST(a_wrong_configuration_is_named_and_refused),
	};

	if (argc != 3) {
		(void)fprintf(stderr, "usage: %s BPFLEETD CHILD\n", argv[0]);
		return 2;
	}
	bpfleetd = argv[1];
	child_program = argv[2];
	/* Own mounts, so that neither bpffs nor tracefs outlives the test. */
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		(void)fprintf(stderr, "skipped: needs root and a mount namespace of its own\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
