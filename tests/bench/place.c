#define _GNU_SOURCE
#include "tests/bench/place.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

#define TRACEFS "/sys/kernel/tracing"

/* ---- programs */

static int raise_spawn(const char *program, int r, struct error *err)
{
	return error_raise_errno(err, ERROR_IO, r, "start %s", program);
}

int place_spawn(const char *const *argv, const char *output, pid_t *ret, struct error *err)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r != 0)
		return raise_spawn(argv[0], r, err);
	r = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO,
					     output == NULL ? "/dev/null" : output,
					     O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
	if (r == 0)
		r = posix_spawnp(ret, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
				 environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return r != 0 ? raise_spawn(argv[0], r, err) : 0;
}

int place_command(const char *const *argv, const char *output, struct error *err)
{
	int status, r;
	pid_t pid;

	r = place_spawn(argv, output, &pid, err);
	if (r < 0)
		return r;
	if (waitpid(pid, &status, 0) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "wait for %s", argv[0]);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_raise(err, ERROR_IO, "%s %s failed", argv[0], argv[1]);
	return 0;
}

/* ---- devices */

void place_device(size_t i, char out[static 16])
{
	(void)snprintf(out, 16, "bench%zu", i);
}

int place_make_devices(struct error *err)
{
	for (size_t i = 0; i < PLACE_N_DEVICES; i += 2) {
		char name[16], peer[16];
		const char *const argv[] = { "ip",   "link", "add",  name, "type",
					     "veth", "peer", "name", peer, NULL };
		int r;

		place_device(i, name);
		place_device(i + 1, peer);
		r = place_command(argv, NULL, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the place */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

void place_remove(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int failed(const char *what, struct error *err)
{
	return error_raise_errno(err, ERROR_IO, errno, "%s", what);
}

static int enter(const char *folder, struct error *err)
{
	char raw[PLACE_FOLDER_MAX];

	(void)snprintf(raw, sizeof(raw), "%s/raw", folder);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
		return failed("make namespaces", err);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return failed("mount /proc", err);
	if (mkdir(raw, 0700) < 0 || mount("bpf", raw, "bpf", 0, "mode=0700") < 0)
		return failed("mount a BPF file system", err);
	if (access(TRACEFS "/events", F_OK) < 0 &&
	    mount("tracefs", TRACEFS, "tracefs", 0, NULL) < 0)
		return failed("mount tracefs", err);
	return 0;
}

static void child_main(int (*fn)(const char *folder, void *arg), void *arg, const char *folder,
		       const sigset_t *signals)
{
	struct error err = { 0 };
	int r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigprocmask(SIG_SETMASK, signals, NULL);
	r = enter(folder, &err);
	if (r < 0)
		(void)fprintf(stderr, "bench: %s\n", err.message);
	else
		r = fn(folder, arg);
	(void)fflush(NULL);
	_exit(r == 0 ? 0 : 1);
}

/* The end of the first process of a pid namespace is the end of all in it. */
static int wait_child(pid_t pid, const sigset_t *signals)
{
	int status = 0, signo;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (sigwait(signals, &signo) == 0 && signo != SIGCHLD)
			(void)kill(pid, SIGKILL);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int place_run(int (*fn)(const char *folder, void *arg), void *arg, struct error *err)
{
	char folder[PLACE_FOLDER_MAX] = "/tmp/bpfleet-bench.XXXXXX";
	sigset_t signals, before;
	int status = 1;
	pid_t pid;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &signals, &before);
	if (mkdtemp(folder) == NULL || chmod(folder, 0755) < 0) {
		(void)failed("make a temporary directory", err);
		return 1;
	}
	pid = unshare(CLONE_NEWPID) < 0 ? -1 : fork();
	if (pid == 0)
		child_main(fn, arg, folder, &before);
	if (pid < 0)
		(void)failed("make a pid namespace", err);
	else
		status = wait_child(pid, &signals);
	place_remove(folder);
	return status;
}
