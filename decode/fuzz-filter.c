/* Fuzzes conditions as clients send them: up to the first newline the text, then the record. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "decode/filter.h"
#include "decode/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct decoder *make_decoder(void)
{
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
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	if (decoder_new(&options, &decoder, NULL) < 0)
		abort();
	btf__free(btf);
	return decoder;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	const size_t n = end == NULL ? size : (size_t)(end - data);
	struct decoder *decoder = make_decoder();
	char *text = strndup((const char *)data, n);
	struct filter *filter = NULL;
	uint8_t *record = NULL;
	size_t n_record = end == NULL ? 0 : size - n - 1;

	/* A copy, so that a sanitizer sees what is read beyond it. */
	if (n_record > 0 && (record = malloc(n_record)) != NULL)
		memcpy(record, end + 1, n_record);
	if (text != NULL && filter_new(decoder, text, &filter, NULL) == 0)
		(void)filter_matches(filter, record, record == NULL ? 0 : n_record);
	filter_free(filter);
	free(record);
	free(text);
	decoder_free(decoder);
	return 0;
}
