/*
 * Prints how long a million map entries take as JSON and as text, against copying their bytes: what
 * a dump costs beyond lookup_batch. Five rounds, the median counts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "base/clock.h"
#include "base/error.h"
#include "decode/types.h"

#define N_ENTRIES 1000000
#define ROUNDS 5
#define FLUSH_BYTES 65536

struct entry {
	uint8_t addr[4];
	uint32_t port;
	uint64_t packets;
	uint64_t bytes;
};

static struct decoder *make_decoder(void)
{
	static char path[] = "key.addr";
	Bpfleet__V1__Display row = BPFLEET__V1__DISPLAY__INIT, *rows[] = { &row };
	struct decoder_options options = { .key_size = 8, .value_size = 16, .display = rows };
	struct btf *btf = btf__new_empty();
	struct decoder *decoder = NULL;
	struct error err = { 0 };
	int u8, u32, u64, array;
	uint32_t n;

	u8 = btf__add_int(btf, "u8", 1, 0);
	u32 = btf__add_int(btf, "u32", 4, 0);
	u64 = btf__add_int(btf, "u64", 8, 0);
	array = btf__add_array(btf, u32, u8, 4);
	options.key_type_id = (uint32_t)btf__add_struct(btf, "key", 8);
	(void)btf__add_field(btf, "addr", array, 0, 0);
	(void)btf__add_field(btf, "port", u32, 32, 0);
	options.value_type_id = (uint32_t)btf__add_struct(btf, "value", 16);
	(void)btf__add_field(btf, "packets", u64, 0, 0);
	(void)btf__add_field(btf, "bytes", u64, 64, 0);
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	row.path = path;
	row.format = BPFLEET__V1__FORMAT__FORMAT_IPV4;
	options.n_display = 1;
	if (decoder_new(&options, &decoder, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.message);
		exit(1);
	}
	btf__free(btf);
	return decoder;
}

enum mode {
	MODE_COPY,
	MODE_JSON,
	MODE_TEXT,
	N_MODES,
};

static uint64_t run(const struct decoder *decoder, const struct entry *entries, enum mode mode)
{
	uint64_t start = clock_monotonic_ns(), total = 0;
	struct str out = { 0 };

	for (size_t i = 0; i < N_ENTRIES; i++) {
		const uint8_t *key = entries[i].addr, *value = (const uint8_t *)&entries[i].packets;

		if (mode == MODE_COPY) {
			(void)str_append_bytes(&out, key, sizeof(entries[i]));
		} else if (mode == MODE_JSON) {
			(void)decoder_entry_json(decoder, key, value, &out);
		} else {
			(void)decoder_text(decoder, DECODER_KEY, key, 8, &out);
			(void)str_append(&out, " ");
			(void)decoder_text(decoder, DECODER_VALUE, value, 16, &out);
		}
		if (out.len > FLUSH_BYTES) {
			total += out.len;
			out.len = 0;
		}
	}
	str_done(&out);
	return total == 0 ? UINT64_MAX : clock_monotonic_ns() - start;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	static const char *const names[N_MODES] = { "copy", "json", "text" };
	struct entry *entries = calloc(N_ENTRIES, sizeof(*entries));
	struct decoder *decoder = make_decoder();
	uint64_t times[N_MODES][ROUNDS];
	uint32_t random = 1;

	if (entries == NULL)
		return 1;
	for (size_t i = 0; i < N_ENTRIES; i++) {
		random = random * 1664525 + 1013904223;
		memcpy(entries[i].addr, &random, 4);
		entries[i].port = random >> 16;
		entries[i].packets = random;
		entries[i].bytes = (uint64_t)random * 700;
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int mode = 0; mode < N_MODES; mode++)
			times[mode][round] = run(decoder, entries, (enum mode)mode);
	}
	for (int mode = 0; mode < N_MODES; mode++) {
		qsort(times[mode], ROUNDS, sizeof(times[mode][0]), compare);
		(void)printf("%s: %" PRIu64 " ms for %d entries, %" PRIu64 " ns each\n",
			     names[mode], times[mode][ROUNDS / 2] / 1000000, N_ENTRIES,
			     times[mode][ROUNDS / 2] / N_ENTRIES);
	}
	decoder_free(decoder);
	free(entries);
	return 0;
}
