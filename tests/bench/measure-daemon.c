/* Memory, size, restart. */
#define _GNU_SOURCE
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "tests/bench/bench.h"
#include "tests/bench/place.h"

#define MB 1e6
/* The supervisor starts a process at once that had lived for five seconds. */
#define STEADY_NS (5 * NS_PER_SEC + 200 * NS_PER_MS)
#define RESTART_NS (20 * NS_PER_SEC)

/* ---- memory */

static int add_memory(struct bench *bench, const struct daemon *daemon, enum figure rss_figure,
		      enum figure pss_figure, struct error *err)
{
	uint64_t rss, pss;
	int r = daemon_memory(daemon, &rss, &pss, err);

	if (r < 0)
		return r;
	figure_add(&bench->figures, rss_figure, COLUMN_BPFLEET, (double)rss / MB);
	figure_add(&bench->figures, pss_figure, COLUMN_BPFLEET, (double)pss / MB);
	return 0;
}

/* Idle is a daemon that just started, took four bundles and has a client. */
int measure_memory(struct bench *bench, struct error *err)
{
	struct daemon idle;
	char folder[96];
	int r;

	(void)snprintf(folder, sizeof(folder), "%s/idle%zu", bench->folder, bench->round);
	r = daemon_start(bench->prefix, folder, bench->signing, &idle, err);
	if (r < 0)
		return r;
	(void)poll(NULL, 0, 300);
	r = add_memory(bench, &idle, FIGURE_IDLE_RSS, FIGURE_IDLE_PSS, err);
	daemon_stop(&idle);
	if (r == 0)
		r = add_memory(bench, &bench->loaded, FIGURE_LOADED_RSS, FIGURE_LOADED_PSS, err);
	return r;
}

/* ---- size */

static uint64_t total_bytes;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (type == FTW_F)
		total_bytes += (uint64_t)st->st_size;
	return 0;
}

int measure_installed(struct bench *bench, struct error *err)
{
	total_bytes = 0;
	if (nftw(bench->prefix, add_size, 16, FTW_PHYS) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "measure %s", bench->prefix);
	figure_add(&bench->figures, FIGURE_INSTALLED, COLUMN_BPFLEET, (double)total_bytes / MB);
	return 0;
}

/* ---- restart */

static int kill_core(struct bench *bench, struct error *err)
{
	const uint64_t steady = bench->restarted_at + STEADY_NS, now = clock_monotonic_ns();
	pid_t core;

	if (now < steady)
		(void)poll(NULL, 0, clock_poll_ms(steady));
	core = daemon_child(&bench->loaded, "bpfleet-core");
	if (core <= 0 || kill(core, SIGKILL) < 0)
		return error_raise(err, ERROR_INTERNAL, "no core to kill");
	return 0;
}

/* Until a new client is answered. Every attempt is a new connection: one waits in the socket's
 * backlog for front. */
static int restart_new_client(struct bench *bench, struct error *err)
{
	uint64_t start;
	int r = kill_core(bench, err);

	if (r < 0)
		return r;
	start = clock_monotonic_ns();
	do
		r = daemon_probe(&bench->loaded, err);
	while (r < 0 && clock_monotonic_ns() - start < RESTART_NS);
	bench->restarted_at = clock_monotonic_ns();
	if (r == 0)
		figure_add(&bench->figures, FIGURE_RESTART, COLUMN_BPFLEET, ms_since(start));
	return r;
}

static int restart_open_handle(struct bench *bench, struct error *err)
{
	const struct bpfleet_status *status = NULL;
	struct bpfleet_error failure;
	uint64_t start;
	int r = kill_core(bench, err);

	if (r < 0)
		return r;
	start = clock_monotonic_ns();
	do
		r = bpfleet_get_status(bench->loaded.client, &status, &failure);
	while (r < 0 && clock_monotonic_ns() - start < RESTART_NS);
	bench->restarted_at = clock_monotonic_ns();
	if (r < 0)
		return daemon_failed(r, &failure, "call after a restart", err);
	bpfleet_free(status);
	figure_add(&bench->figures, FIGURE_RESTART_HANDLE, COLUMN_BPFLEET, ms_since(start));
	return 0;
}

int measure_restart(struct bench *bench, struct error *err)
{
	int r = restart_new_client(bench, err);

	/* Each takes five seconds of waiting. */
	return r < 0 || bench->quick ? r : restart_open_handle(bench, err);
}
