/* Fuzzes entries as clients send them: the first byte is the number of CPUs, the rest the text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "decode/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct decoder *make_decoder(uint32_t n_cpus)
{
	struct btf *btf = btf__new_empty();
	struct decoder_options options = { .key_size = 4, .value_size = 12, .n_cpus = n_cpus };
	struct decoder *decoder = NULL;
	uint32_t n;

	options.key_type_id = (uint32_t)btf__add_int(btf, "u32", 4, 0);
	(void)btf__add_int(btf, "char", 1, BTF_INT_CHAR);
	(void)btf__add_array(btf, 1, 2, 8);
	options.value_type_id = (uint32_t)btf__add_struct(btf, "value", 12);
	if (btf__add_field(btf, "name", 3, 0, 0) < 0 || btf__add_field(btf, "n", 1, 64, 0) < 0)
		abort();
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	if (decoder_new(&options, &decoder, NULL) < 0)
		abort();
	btf__free(btf);
	return decoder;
}

static void parse(const struct decoder *decoder, enum decoder_part part, const char *text)
{
	uint8_t *bytes = calloc(1, decoder_size(decoder, part) + 1);
	size_t n = 0;

	if (bytes != NULL && text != NULL &&
	    entry_parse(decoder, part, text, bytes, &n, NULL) == 0 &&
	    n > decoder_size(decoder, part))
		abort();
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decoder *decoder = make_decoder(size == 0 ? 0 : data[0] % 5);
	char *line = size == 0 ? NULL : strndup((const char *)data + 1, size - 1);
	char *key = NULL, *value = NULL;

	if (line != NULL && entry_member(line, "key", &key, NULL) == 0)
		parse(decoder, DECODER_KEY, key);
	if (line != NULL && entry_member(line, "value", &value, NULL) == 0)
		parse(decoder, DECODER_VALUE, value);
	free(key);
	free(value);
	free(line);
	decoder_free(decoder);
	return 0;
}
