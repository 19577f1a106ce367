/*
 * How long the transactions of a small load take: bench-commit [FILE] [ROUNDS]. Prints, for each
 * transaction, the median, the 99th percentile and the worst in microseconds, and beside them the
 * floor: the same fsync of 4 KiB appended to a plain file.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "store/audit.h"
#include "store/bundles.h"
#include "store/instances.h"
#include "store/journal.h"

#define ROUNDS_MAX 100000
#define KINDS 5

static const char *const kinds[KINDS] = { "load: intent", "load: outcome", "unload",
					  "denial, repeated", "floor: fdatasync 4 KiB" };

struct bench {
	struct store *store;
	struct error err;
	uint8_t digest[STORE_DIGEST_LEN];
	int floor_fd;
	uint64_t *took_ns[KINDS];
};

static void hash(const void *bytes, size_t n, uint8_t out[static STORE_HASH_LEN])
{
	(void)crypto_generichash(out, STORE_HASH_LEN, bytes, n, NULL, 0);
}

static int bench_bundle(struct bench *b)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	_cleanup_free_ uint8_t *bytes = calloc(1, 20000);
	struct store_bundle row = { .name = "bench", .version = { 1, 0, 0 }, .size_bytes = 20000 };
	int r;

	if (bytes == NULL)
		return error_raise(&b->err, ERROR_OUT_OF_MEMORY, "bench");
	memset(b->digest, 7, sizeof(b->digest));
	memcpy(row.digest, b->digest, sizeof(row.digest));
	r = store_tx_begin(b->store, STORE_TX_GROW, &tx, &b->err);
	if (r == 0)
		r = store_bundle_insert(&tx, &row, NULL, 0, bytes, &b->err);
	return r < 0 ? r : store_tx_commit(&tx, &b->err);
}

static int bench_intent(struct bench *b, const char *id, uint64_t *ret_op)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	struct store_instance row = {
		.id = id, .owner = "uid:1000", .durability = 1, .state = INSTANCE_LOADING
	};
	const struct store_op op = { .kind = "load",
				     .instance = id,
				     .step = "intent",
				     .identity = "uid:1000",
				     .method = "Load",
				     .request_id = id };
	int r;

	memcpy(row.digest, b->digest, sizeof(row.digest));
	r = store_tx_begin(b->store, STORE_TX_GROW, &tx, &b->err);
	if (r == 0)
		r = store_op_begin(&tx, &op, ret_op, &b->err);
	if (r == 0)
		r = store_instance_insert(&tx, &row, NULL, 0, &b->err);
	return r < 0 ? r : store_tx_commit(&tx, &b->err);
}

static int bench_outcome(struct bench *b, const char *id, uint64_t op)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	const struct store_program program = {
		.instance = id, .name = "count", .type = "xdp", .kernel_id = 5
	};
	const struct store_map map = {
		.instance = id, .name = "stats", .type = "hash", .kernel_id = 6
	};
	const struct store_request request = { .identity = "uid:1000",
					       .method = "Load",
					       .request_id = id,
					       .response = { b->digest, sizeof(b->digest) } };
	const struct store_audit audit = { .identity = "uid:1000",
					   .verb = "load",
					   .object = id,
					   .outcome = "ok",
					   .digest = { b->digest, sizeof(b->digest) } };
	int r;

	r = store_tx_begin(b->store, STORE_TX_GROW, &tx, &b->err);
	if (r == 0)
		r = store_program_put(&tx, &program, &b->err);
	if (r == 0)
		r = store_map_put(&tx, &map, &b->err);
	if (r == 0)
		r = store_instance_set_state(&tx, id, INSTANCE_READY, "", &b->err);
	if (r == 0)
		r = store_op_end(&tx, op, &b->err);
	if (r == 0)
		r = store_request_insert(&tx, &request, &b->err);
	if (r == 0)
		r = store_audit_append(&tx, &audit, NULL, &b->err);
	return r < 0 ? r : store_tx_commit(&tx, &b->err);
}

static int bench_unload(struct bench *b, const char *id)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	const struct store_audit audit = {
		.identity = "uid:1000", .verb = "unload", .object = id, .outcome = "ok"
	};
	int r;

	r = store_tx_begin(b->store, STORE_TX_RELEASE, &tx, &b->err);
	if (r == 0)
		r = store_instance_delete(&tx, id, &b->err);
	if (r == 0)
		r = store_audit_append(&tx, &audit, NULL, &b->err);
	return r < 0 ? r : store_tx_commit(&tx, &b->err);
}

static int bench_denial(struct bench *b)
{
	const struct store_audit row = {
		.at_ns = 1, .identity = "uid:7", .verb = "load", .outcome = "denied"
	};

	return store_audit_deny(b->store, &row, &b->err);
}

static int bench_floor(struct bench *b)
{
	static const char block[4096] = { 1 };

	if (write(b->floor_fd, block, sizeof(block)) != sizeof(block) || fdatasync(b->floor_fd) < 0)
		return error_raise(&b->err, ERROR_IO, "writing the floor's file");
	return 0;
}

static int bench_round(struct bench *b, size_t round)
{
	char id[STORE_ID_LEN + 1];
	uint64_t op = 0, start;
	int r = 0;

	(void)snprintf(id, sizeof(id), "i%015zu", round);
	for (size_t kind = 0; kind < KINDS && r == 0; kind++) {
		start = clock_monotonic_ns();
		switch (kind) {
		case 0:
			r = bench_intent(b, id, &op);
			break;
		case 1:
			r = bench_outcome(b, id, op);
			break;
		case 2:
			/* The other half stays, so that the store fills. */
			r = round % 2 == 0 ? bench_unload(b, id) : 0;
			break;
		case 3:
			r = bench_denial(b);
			break;
		default:
			r = bench_floor(b);
		}
		if (kind != 2 || round % 2 == 0)
			b->took_ns[kind][kind == 2 ? round / 2 : round] =
				clock_monotonic_ns() - start;
	}
	return r;
}

static int compare_u64(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void bench_report(struct bench *b, size_t n_rounds)
{
	printf("%-24s %10s %10s %10s\n", "us", "p50", "p99", "max");
	for (size_t kind = 0; kind < KINDS; kind++) {
		/* Every second round unloads. */
		size_t n = kind == 2 ? n_rounds / 2 : n_rounds;

		qsort(b->took_ns[kind], n, sizeof(uint64_t), compare_u64);
		printf("%-24s %10.1f %10.1f %10.1f\n", kinds[kind],
		       (double)b->took_ns[kind][n / 2] / 1e3,
		       (double)b->took_ns[kind][n * 99 / 100] / 1e3,
		       (double)b->took_ns[kind][n - 1] / 1e3);
	}
}

static int bench_run(struct bench *b, const char *path, size_t n_rounds)
{
	_cleanup_free_ char *floor_path = NULL;
	const struct store_options options = { .path = path, .hash = hash };
	int r;

	r = store_open(&options, &b->store, &b->err);
	if (r == 0)
		r = bench_bundle(b);
	if (r < 0)
		return r;
	if (asprintf(&floor_path, "%s-floor", path) < 0)
		return error_raise(&b->err, ERROR_OUT_OF_MEMORY, "bench");
	b->floor_fd = open(floor_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (size_t kind = 0; kind < KINDS; kind++)
		b->took_ns[kind] = calloc(n_rounds, sizeof(uint64_t));
	for (size_t i = 0; r == 0 && i < n_rounds; i++)
		r = bench_round(b, i);
	if (r == 0)
		bench_report(b, n_rounds);
	for (size_t kind = 0; kind < KINDS; kind++)
		free(b->took_ns[kind]);
	(void)close(b->floor_fd);
	(void)unlink(floor_path);
	return r;
}

int main(int argc, char **argv)
{
	struct bench b = { .floor_fd = -1 };
	uint64_t n_rounds = 2000;
	uint64_t start;
	char folder[] = "/tmp/bpfleet-bench-XXXXXX", path[64];
	const char *file = argc > 1 ? argv[1] : path;
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char name[512];
	int r;

	if (argc > 2 && (str_to_u64(argv[2], ROUNDS_MAX, &n_rounds) < 0 || n_rounds < 100)) {
		(void)fprintf(stderr, "rounds: 100 to %d\n", ROUNDS_MAX);
		return 2;
	}
	if (sodium_init() < 0 || (argc <= 1 && mkdtemp(folder) == NULL))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/state.db", folder);
	r = bench_run(&b, file, n_rounds);
	store_close(b.store);
	if (r == 0) {
		const struct store_options options = { .path = file, .hash = hash };

		start = clock_monotonic_ns();
		b.store = NULL;
		r = store_open(&options, &b.store, &b.err);
		printf("open with %llu instances  %9.1f us\n", (unsigned long long)(n_rounds / 2),
		       (double)(clock_monotonic_ns() - start) / 1e3);
		store_close(b.store);
	}
	if (r < 0)
		(void)fprintf(stderr, "%s\n", b.err.message);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", file, suffixes[i]);
		(void)unlink(name);
	}
	if (argc <= 1)
		(void)rmdir(folder);
	return r < 0;
}
