/*
 * Fuzzes typed decoding. Input: 8 bytes (type ids of key, value and event; CPUs; a format and the
 * member it goes to; size of the BTF, little-endian), the BTF, then bytes to decode, which are
 * parsed as text too.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "decode/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER_SIZE 8
#define TYPE_SIZE_MAX 65536

static uint32_t size_of(const struct btf *btf, uint32_t type_id)
{
	int64_t size = type_id == 0 ? 8 : btf__resolve_size(btf, type_id);

	return size < 0 || size > TYPE_SIZE_MAX ? 8 : (uint32_t)size;
}

static void decode(const struct decoder *d, enum decoder_part part, const uint8_t *data, size_t n)
{
	size_t size = decoder_size(d, part);
	uint8_t *bytes = calloc(1, size + n + 1), *parsed = calloc(1, size + 1);
	char *text = strndup((const char *)data, n);
	struct str out = { 0 };

	if (bytes == NULL || parsed == NULL || text == NULL)
		abort();
	memcpy(bytes, data, n);
	if (part == DECODER_EVENT)
		size = size > n ? size : n;
	(void)decoder_json(d, part, bytes, size, &out);
	(void)decoder_json(d, part, bytes, n, &out);
	(void)decoder_text(d, part, bytes, size, &out);
	for (size_t i = 0; i < decoder_n_columns(d, part) && i < 64; i++)
		(void)decoder_column_text(d, part, i, bytes, size, &out);
	(void)decoder_describe(d, part, &out);
	if (part != DECODER_EVENT &&
	    decoder_parse(d, part, text, parsed, decoder_size(d, part), NULL) == 0) {
		out.len = 0;
		(void)decoder_json(d, part, parsed, decoder_size(d, part), &out);
		if (!out.failed &&
		    decoder_parse(d, part, out.data, parsed, decoder_size(d, part), NULL) == 0)
			(void)decoder_text(d, part, parsed, decoder_size(d, part), &out);
	}
	str_done(&out);
	free(bytes);
	free(parsed);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char paths[][16] = { "key",     "value",	     "event",	   "key.addr",
				    "value.x", "event.args", "value.name", "value.inner.y" };
	Bpfleet__V1__Display row = BPFLEET__V1__DISPLAY__INIT, *rows[] = { &row };
	struct decoder_options options = { .display = rows, .n_display = 1 };
	struct decoder *decoder = NULL;
	struct btf *btf;
	size_t n_btf;

	(void)libbpf_set_print(NULL);
	if (size < HEADER_SIZE)
		return 0;
	n_btf = (size_t)data[6] | (size_t)data[7] << 8;
	if (n_btf > size - HEADER_SIZE)
		return 0;
	btf = n_btf == 0 ? NULL : btf__new(data + HEADER_SIZE, (uint32_t)n_btf);
	options.btf = data + HEADER_SIZE;
	options.n_btf = n_btf;
	options.key_type_id = data[0];
	options.value_type_id = data[1];
	options.event_type_id = data[2];
	options.key_size = btf == NULL ? 8 : size_of(btf, data[0]);
	options.value_size = btf == NULL ? 8 : size_of(btf, data[1]);
	options.n_cpus = data[3] % 5;
	row.path = paths[data[5] % (sizeof(paths) / sizeof(paths[0]))];
	row.format = (Bpfleet__V1__Format)(data[4] % 14);
	if (decoder_new(&options, &decoder, NULL) == 0) {
		data += HEADER_SIZE + n_btf;
		size -= HEADER_SIZE + n_btf;
		decode(decoder, DECODER_KEY, data, size);
		if (options.n_cpus == 0)
			decode(decoder, DECODER_VALUE, data, size);
		if (decoder_size(decoder, DECODER_EVENT) <= TYPE_SIZE_MAX)
			decode(decoder, DECODER_EVENT, data, size);
	}
	decoder_free(decoder);
	btf__free(btf);
	return 0;
}
