/* Fuzzes conditions as clients send them: up to the first newline the text, then the record, which
 * is once of one struct and once of one of two. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "decode/filter.h"
#include "decode/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct decoder *make_decoder(bool has_variants)
{
	Bpfleet__V1__EventVariant variants[2], *pointers[] = { &variants[0], &variants[1] };
	struct btf *btf = btf__new_empty();
	struct decoder_options options = { 0 };
	struct decoder *decoder = NULL;
	uint32_t n;

	(void)btf__add_int(btf, "u32", 4, 0);
	(void)btf__add_int(btf, "char", 1, BTF_INT_CHAR);
	(void)btf__add_array(btf, 1, 2, 8);
	(void)btf__add_array(btf, 1, 1, 2);
	(void)btf__add_array(btf, 1, 2, 0);
	(void)btf__add_float(btf, "float", 4);
	options.event_type_id = (uint32_t)btf__add_struct(btf, "record", 24);
	if (btf__add_field(btf, "name", 3, 0, 0) < 0 || btf__add_field(btf, "n", 1, 64, 0) < 0 ||
	    btf__add_field(btf, "a", 4, 96, 0) < 0 || btf__add_field(btf, "f", 6, 160, 0) < 0 ||
	    btf__add_field(btf, "rest", 5, 192, 0) < 0)
		abort();
	if (btf__add_struct(btf, "other", 16) < 0 || btf__add_field(btf, "other", 4, 0, 0) < 0 ||
	    btf__add_field(btf, "n", 1, 64, 0) < 0 || btf__add_field(btf, "m", 1, 96, 0) < 0)
		abort();
	for (uint64_t i = 0; i < 2; i++) {
		bpfleet__v1__event_variant__init(&variants[i]);
		variants[i].tag = i;
		variants[i].record_type = (char *)(uintptr_t)(i == 0 ? "record" : "other");
	}
	if (has_variants) {
		options.event_tag = "n";
		options.event_variants = pointers;
		options.n_event_variants = 2;
	}
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	if (decoder_new(&options, &decoder, NULL) < 0)
		abort();
	btf__free(btf);
	return decoder;
}

static void match(const char *text, const uint8_t *record, size_t n, bool has_variants)
{
	/* Made once: most of the time would go into them. */
	static struct decoder *decoders[2];
	struct filter *filter = NULL;

	if (decoders[has_variants] == NULL)
		decoders[has_variants] = make_decoder(has_variants);
	if (filter_new(decoders[has_variants], text, &filter, NULL) == 0)
		(void)filter_matches(filter, record, n);
	filter_free(filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	const size_t n = end == NULL ? size : (size_t)(end - data);
	const size_t n_record = end == NULL ? 0 : size - n - 1;
	char *text = strndup((const char *)data, n);
	/* A copy, so that a sanitizer sees what is read beyond it. */
	uint8_t *record = malloc(n_record);

	if (n_record > 0 && record != NULL)
		memcpy(record, end + 1, n_record);
	if (text != NULL && record != NULL) {
		match(text, record, n_record, false);
		match(text, record, n_record, true);
	}
	free(record);
	free(text);
	return 0;
}
