#include "decode/symbols.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

/* Behind the last function of a module or a BPF program other memory may follow. */
#define LAST_SIZE_MAX 65536
/* Addresses of the kernel have this bit, those of processes do not. */
#define KERNEL_HALF (UINT64_C(1) << 63)

struct entry {
	uint64_t address;
	uint32_t name;	 /* offset in the names */
	uint32_t module; /* the same; 0: none */
};

struct symbols {
	struct entry *entries; /* by address, each once */
	size_t n;
	char *names;
	size_t n_names; /* bytes */
};

/* A line of kallsyms; the parts point into it. */
struct line {
	uint64_t address;
	char type;
	const char *name, *module;
	size_t n_name, n_module;
};

static bool parse_address(const char **at, const char *end, uint64_t *ret)
{
	const char *start = *at;
	uint64_t value = 0;

	for (; *at < end && **at != ' '; (*at)++) {
		const char c = **at;
		const int digit = c >= '0' && c <= '9'	 ? c - '0'
				  : c >= 'a' && c <= 'f' ? c - 'a' + 10
							 : -1;

		if (digit < 0 || *at - start >= 16)
			return false;
		value = value << 4 | (uint64_t)digit;
	}
	*ret = value;
	return *at > start;
}

static bool parse_line(const char *at, const char *end, struct line *ret)
{
	const char *tab;

	if (!parse_address(&at, end, &ret->address) || end - at < 4 || at[0] != ' ' || at[2] != ' ')
		return false;
	ret->type = at[1];
	ret->name = at + 3;
	tab = memchr(ret->name, '\t', (size_t)(end - ret->name));
	ret->n_name = (size_t)((tab == NULL ? end : tab) - ret->name);
	ret->n_module = 0;
	if (tab != NULL && end - tab > 3 && tab[1] == '[' && end[-1] == ']') {
		ret->module = tab + 2;
		ret->n_module = (size_t)(end - tab) - 3;
	}
	return ret->n_name > 0;
}

static bool is_function(const struct line *line)
{
	return line->address != 0 && strchr("tTwW", line->type) != NULL;
}

/* Appends a name; *ret is where it starts. The buffer has room for all of the text. */
static uint32_t add_name(struct symbols *symbols, const char *name, size_t n)
{
	const uint32_t at = (uint32_t)symbols->n_names;

	memcpy(symbols->names + at, name, n);
	symbols->names[at + n] = '\0';
	symbols->n_names += n + 1;
	return at;
}

static void add(struct symbols *symbols, const struct line *line)
{
	struct entry *entry = &symbols->entries[symbols->n];
	const struct entry *previous = symbols->n > 0 ? entry - 1 : NULL;

	entry->address = line->address;
	entry->name = add_name(symbols, line->name, line->n_name);
	entry->module = 0;
	if (line->n_module == 0)
		;
	else if (previous != NULL && previous->module != 0 &&
		 strlen(symbols->names + previous->module) == line->n_module &&
		 memcmp(symbols->names + previous->module, line->module, line->n_module) == 0)
		entry->module = previous->module;
	else
		entry->module = add_name(symbols, line->module, line->n_module);
	symbols->n++;
}

/* Of several names for one address the first counts, as in the kernel. */
static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static void sort(struct symbols *symbols)
{
	size_t n = 0;

	qsort(symbols->entries, symbols->n, sizeof(*symbols->entries), compare);
	for (size_t i = 0; i < symbols->n; i++) {
		if (n == 0 || symbols->entries[n - 1].address != symbols->entries[i].address)
			symbols->entries[n++] = symbols->entries[i];
	}
	symbols->n = n;
}

/* Gives back what the two buffers have too much; a failure leaves them as they are. */
static void shrink(struct symbols *symbols)
{
	void *entries = realloc(symbols->entries, symbols->n * sizeof(*symbols->entries));
	void *names;

	if (entries != NULL)
		symbols->entries = entries;
	names = realloc(symbols->names, symbols->n_names);
	if (names != NULL)
		symbols->names = names;
}

static size_t count_lines(const char *text, size_t n)
{
	size_t lines = 1;

	for (const char *at = text; (at = memchr(at, '\n', n - (size_t)(at - text))) != NULL; at++)
		lines++;
	return lines;
}

int symbols_new(const char *text, size_t n, struct symbols **ret, struct error *err)
{
	_cleanup_(symbols_freep) struct symbols *symbols = calloc(1, sizeof(*symbols));
	const char *at = text, *end;
	struct line line;

	if (symbols != NULL && n < UINT32_MAX / 2) {
		symbols->entries = malloc(count_lines(text, n) * sizeof(*symbols->entries));
		/* A line is longer than its names with their ends. */
		symbols->names = malloc(n + 1);
	}
	if (symbols == NULL || symbols->entries == NULL || symbols->names == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for the kernel's symbols");
	/* 0 stands for no module. */
	symbols->names[symbols->n_names++] = '\0';
	for (; at < text + n; at = end + 1) {
		end = memchr(at, '\n', (size_t)(text + n - at));
		if (end == NULL)
			end = text + n;
		if (parse_line(at, end, &line) && is_function(&line))
			add(symbols, &line);
	}
	if (symbols->n == 0)
		return error_raise(err, ERROR_KERNEL_UNSUPPORTED,
				   "the kernel shows the addresses of its symbols to nobody "
				   "(kernel.kptr_restrict was 2 when bpfleetd started, or it has "
				   "no CONFIG_KALLSYMS)");
	sort(symbols);
	shrink(symbols);
	*ret = TAKE_PTR(symbols);
	return 0;
}

void symbols_free(struct symbols *symbols)
{
	if (symbols == NULL)
		return;
	free(symbols->entries);
	free(symbols->names);
	free(symbols);
}

size_t symbols_n(const struct symbols *symbols)
{
	return symbols->n;
}

bool symbols_find(const struct symbols *symbols, uint64_t address, struct symbol *ret)
{
	size_t low = 0, high = symbols->n;
	const struct entry *entry, *next;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (symbols->entries[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return false;
	entry = &symbols->entries[low - 1];
	next = low < symbols->n ? entry + 1 : NULL;
	if ((next == NULL || entry->module != 0 || next->module != 0) &&
	    address - entry->address >= LAST_SIZE_MAX)
		return false;
	ret->name = symbols->names + entry->name;
	ret->module = entry->module != 0 ? symbols->names + entry->module : NULL;
	ret->offset = address - entry->address;
	return true;
}

/* back: 1 for a return address, which may be that of the next function when the call is the last
 * instruction of its own. */
static void append_address(const struct symbols *symbols, uint64_t address, unsigned int back,
			   struct str *out)
{
	_cleanup_(str_done) struct str text = { 0 };
	struct symbol symbol;

	if (symbols == NULL || (address & KERNEL_HALF) == 0 ||
	    !symbols_find(symbols, address - back, &symbol)) {
		(void)str_appendf(out, "\"0x%" PRIx64 "\"", address);
		return;
	}
	(void)str_appendf(&text, "%s+0x%" PRIx64, symbol.name, symbol.offset + back);
	if (symbol.module != NULL)
		(void)str_appendf(&text, " [%s]", symbol.module);
	out->failed = out->failed || text.failed;
	if (!text.failed)
		(void)str_append_json(out, text.data, text.len);
}

static void append_place(const struct bpf_stack_build_id *place, struct str *out)
{
	if (place->status != BPF_STACK_BUILD_ID_VALID) {
		(void)str_appendf(out, "\"0x%" PRIx64 "\"", (uint64_t)place->ip);
		return;
	}
	(void)str_append(out, "\"");
	for (size_t i = 0; i < BPF_BUILD_ID_SIZE; i++)
		(void)str_appendf(out, "%02x", place->build_id[i]);
	(void)str_appendf(out, "+0x%" PRIx64 "\"", (uint64_t)place->offset);
}

int stack_json(const struct symbols *symbols, const uint8_t *value, size_t n, bool build_ids,
	       struct str *out)
{
	const size_t size = build_ids ? sizeof(struct bpf_stack_build_id) : sizeof(uint64_t);

	(void)str_append(out, "[");
	for (size_t i = 0; i < n / size; i++) {
		struct bpf_stack_build_id place = { 0 };
		uint64_t address = 0;

		memcpy(build_ids ? (void *)&place : &address, value + i * size, size);
		if (build_ids ? place.status == BPF_STACK_BUILD_ID_EMPTY : address == 0)
			break;
		if (i > 0)
			(void)str_append(out, ",");
		if (build_ids)
			append_place(&place, out);
		else
			append_address(symbols, address, i > 0, out);
	}
	(void)str_append(out, "]");
	return out->failed ? -ENOMEM : 0;
}
