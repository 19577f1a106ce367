/*
 * Kills bpfleetd, bpfleet-core or bpfleet-front with SIGKILL at random moments while eight clients
 * push, load, attach, write, detach and unload, and after every kill compares what the clients were
 * told with what daemon, kernel and bpffs show.
 */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/e2e/hammer/hammer.h"
#include "tests/e2e/hammer/view.h"

#define READY_NS (15 * NS_PER_SEC)
#define CHECK_NS (5 * NS_PER_SEC)
#define FAILURES_MAX 5

static unsigned int n_killed[N_VICTIMS];

/* ---- input */

static void *read_file(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "re");
	char *bytes = NULL;
	size_t n = 0, size = 0;

	if (file == NULL)
		err(2, "%s", path);
	do {
		bytes = realloc(bytes, size + 65536);
		if (bytes == NULL)
			err(2, "memory");
		n = fread(bytes + size, 1, 65536, file);
		size += n;
	} while (n > 0);
	(void)fclose(file);
	*ret_size = size;
	return bytes;
}

static void read_bundles(struct hammer *hammer, const char *folder)
{
	for (unsigned int i = 0; i < N_BUNDLES; i++) {
		struct bundle_file *file = &hammer->bundles[i];
		char path[512];

		(void)snprintf(file->name, sizeof(file->name), "e2e@1.0.%u", i);
		(void)snprintf(path, sizeof(path), "%s/e2e-1.0.%u.bpfb", folder, i);
		file->bytes = read_file(path, &file->size);
		(void)snprintf(path, sizeof(path), "%s/e2e-1.0.%u.bpfb.minisig", folder, i);
		file->signature = read_file(path, &file->signature_size);
	}
}

/* ---- the daemon */

static bool is_ready(struct hammer *hammer, struct bpfleet_error *error)
{
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	const struct bpfleet_status *status;

	options.socket_path = hammer->socket;
	options.timeout_ms = 1000;
	if (!daemon_look(&hammer->daemon) ||
	    (hammer->node == NULL && bpfleet_open(&options, &hammer->node, error) < 0) ||
	    bpfleet_get_status(hammer->node, &status, error) < 0)
		return false;
	bpfleet_free(status);
	return true;
}

static bool wait_ready(struct hammer *hammer)
{
	const uint64_t deadline = clock_monotonic_ns() + READY_NS;
	struct bpfleet_error error = { 0 };

	while (!is_ready(hammer, &error)) {
		if (clock_monotonic_ns() > deadline) {
			hammer_fail(hammer, "the daemon is not back: %s", error.message);
			return false;
		}
		(void)usleep(10000);
	}
	return true;
}

static bool has_changed(struct daemon *daemon, const struct daemon *before, enum victim victim)
{
	(void)daemon_look(daemon);
	for (int i = 0; i < N_VICTIMS; i++) {
		bool dies = victim == VICTIM_FRONT
				    ? i == VICTIM_FRONT
				    : victim == VICTIM_SUPERVISOR || i <= VICTIM_FRONT;

		if (dies && (daemon->pids[i] == 0 || daemon->pids[i] == before->pids[i]))
			return false;
	}
	return true;
}

/* The supervisor makes who dies often wait; a new one starts with a clean sheet. */
static enum victim pick_victim(struct worker *dice)
{
	static unsigned int n_since;
	enum victim victim = (enum victim)worker_random(dice, N_VICTIMS);

	if (victim == VICTIM_SUPERVISOR || ++n_since >= 3) {
		n_since = 0;
		return VICTIM_SUPERVISOR;
	}
	return victim;
}

static bool kill_one(struct hammer *hammer, struct worker *dice)
{
	const struct daemon before = hammer->daemon;
	const enum victim victim = pick_victim(dice);
	const uint64_t deadline = clock_monotonic_ns() + READY_NS;

	(void)usleep(1000 * (20 + worker_random(dice, 300)));
	if (victim != VICTIM_FRONT)
		atomic_fetch_add(&hammer->life, 1);
	n_killed[victim]++;
	daemon_kill(&hammer->daemon, victim);
	if (victim == VICTIM_SUPERVISOR)
		daemon_start(&hammer->daemon);
	while (!has_changed(&hammer->daemon, &before, victim)) {
		if (clock_monotonic_ns() > deadline) {
			hammer_fail(hammer, "%s was killed and is not back", victim_names[victim]);
			return false;
		}
		(void)usleep(5000);
	}
	if (victim != VICTIM_FRONT)
		atomic_fetch_add(&hammer->life, 1);
	return wait_ready(hammer);
}

/* ---- rounds */

static void *run(void *argument)
{
	worker_run(argument);
	return NULL;
}

static void start_workers(struct hammer *hammer)
{
	atomic_store(&hammer->running, true);
	for (int i = 0; i < N_WORKERS; i++) {
		if (pthread_create(&hammer->workers[i].thread, NULL, run, &hammer->workers[i]) != 0)
			errx(2, "no threads");
	}
}

static void stop_workers(struct hammer *hammer)
{
	atomic_store(&hammer->running, false);
	for (int i = 0; i < N_WORKERS; i++)
		(void)pthread_join(hammer->workers[i].thread, NULL);
}

static bool check(struct hammer *hammer)
{
	const uint64_t deadline = clock_monotonic_ns() + CHECK_NS;
	char why[1024] = "";

	do {
		if (check_all(hammer, why, sizeof(why)))
			return true;
		(void)usleep(20000);
	} while (clock_monotonic_ns() < deadline);
	hammer_fail(hammer, "%s", why);
	return false;
}

static bool play_round(struct hammer *hammer, struct worker *dice)
{
	bool good;

	start_workers(hammer);
	good = kill_one(hammer, dice);
	stop_workers(hammer);
	for (int i = 0; good && i < N_WORKERS; i++)
		worker_keep_leases(&hammer->workers[i]);
	return check(hammer) && good && atomic_load(&hammer->n_failures) == 0;
}

/* Without kills: after the same work as before, core holds the same fds as before. */
static bool play_calm(struct hammer *hammer)
{
	struct fd_census before, after;
	bool good = true;

	for (int i = 0; i < N_WORKERS; i++) {
		worker_clear(&hammer->workers[i]);
		worker_close(&hammer->workers[i]);
	}
	good = check(hammer);
	(void)usleep(300000);
	fd_census_take(hammer->daemon.pids[VICTIM_CORE], &before);
	start_workers(hammer);
	(void)usleep(2000000);
	stop_workers(hammer);
	good = check(hammer) && good;
	for (int i = 0; i < N_WORKERS; i++) {
		worker_clear(&hammer->workers[i]);
		worker_close(&hammer->workers[i]);
	}
	good = check(hammer) && good;
	for (int i = 0; i < 50; i++) {
		(void)usleep(50000);
		fd_census_take(hammer->daemon.pids[VICTIM_CORE], &after);
		if (after.n_fds <= before.n_fds)
			break;
		fd_census_done(&after);
	}
	if (after.n_fds > before.n_fds || after.n_maps + after.n_programs + after.n_links > 0) {
		hammer_fail(hammer,
			    "core had %zu fds and has %zu, of them %zu maps, %zu programs, "
			    "%zu links",
			    before.n_fds, after.n_fds, after.n_maps, after.n_programs,
			    after.n_links);
		good = false;
	}
	fd_census_done(&before);
	fd_census_done(&after);
	return good;
}

static void sum_up(const struct hammer *hammer, unsigned int rounds, uint64_t begun)
{
	uint64_t n_done = 0, n_refused = 0, n_unknown = 0, n_repeated = 0;

	for (int i = 0; i < N_WORKERS; i++) {
		n_done += hammer->workers[i].n_done;
		n_refused += hammer->workers[i].n_refused;
		n_unknown += hammer->workers[i].n_unknown;
		n_repeated += hammer->workers[i].n_repeated;
	}
	(void)printf("%u rounds in %.1f s: killed core %u, front %u, supervisor %u times; changes "
		     "acknowledged %llu, refused %llu, left unanswered %llu, repeated %llu; seed "
		     "%llu: %u failures\n",
		     rounds, (double)(clock_monotonic_ns() - begun) / 1e9, n_killed[VICTIM_CORE],
		     n_killed[VICTIM_FRONT], n_killed[VICTIM_SUPERVISOR],
		     (unsigned long long)n_done, (unsigned long long)n_refused,
		     (unsigned long long)n_unknown, (unsigned long long)n_repeated,
		     (unsigned long long)hammer->seed, atomic_load(&hammer->n_failures));
}

static void parse(struct hammer *hammer, int argc, char **argv, unsigned int *ret_rounds)
{
	if (argc != 11)
		errx(2, "usage: hammer BPFLEETD CONFIG LOG SOCKET BPFFS CGROUP CORE_UID BUNDLES "
			"ROUNDS SEED");
	hammer->daemon.program = argv[1];
	hammer->daemon.config = argv[2];
	hammer->daemon.log = argv[3];
	hammer->socket = argv[4];
	hammer->bpffs = argv[5];
	hammer->cgroup = argv[6];
	hammer->core_uid = (uid_t)strtoul(argv[7], NULL, 10);
	read_bundles(hammer, argv[8]);
	*ret_rounds = (unsigned int)strtoul(argv[9], NULL, 10);
	hammer->seed = strtoull(argv[10], NULL, 10);
}

int main(int argc, char **argv)
{
	static struct hammer hammer;
	struct worker dice = { 0 };
	const uint64_t begun = clock_monotonic_ns();
	unsigned int rounds;
	bool good;

	parse(&hammer, argc, argv, &rounds);
	(void)signal(SIGPIPE, SIG_IGN);
	dice.random = hammer.seed;
	for (unsigned int i = 0; i < N_WORKERS; i++) {
		hammer.workers[i].hammer = &hammer;
		hammer.workers[i].number = i;
		hammer.workers[i].random = hammer.seed * 1000 + i + 1;
	}
	daemon_start(&hammer.daemon);
	good = wait_ready(&hammer);
	hammer.foreign = foreign_make(hammer.bpffs, "hshared", "hforeign");
	good = good && worker_push_common(&hammer.workers[0]);
	while (good && hammer.round < rounds) {
		hammer.round++;
		good = play_round(&hammer, &dice);
	}
	good = good && play_calm(&hammer);
	(void)daemon_stop(&hammer.daemon);
	foreign_remove(hammer.foreign);
	sum_up(&hammer, hammer.round, begun);
	return good && atomic_load(&hammer.n_failures) == 0 ? 0 : 1;
}
