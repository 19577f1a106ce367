/*
 * USDT probes: notes of type 3 and name "stapsdt" in section .note.stapsdt, one for each place of a
 * probe: three addresses (the place, where .stapsdt.base was linked to, the semaphore or 0), then
 * provider, name and arguments as strings. Arguments are "SIZE@OPERAND", separated by spaces, in
 * the syntax of the assembler; a negative size is that of a signed type.
 */
#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "daemon/resolver/elf.h"
#include "daemon/resolver/resolve.h"

#define NOTE_TYPE 3
#define NOTE_NAME "stapsdt"

struct note {
	uint64_t place, base, semaphore;
	const char *provider, *name, *arguments;
};

/* ---- arguments */

#if defined(__x86_64__)

/* In the order of struct pt_regs of asm/ptrace.h, eight bytes each; in their four sizes. */
static const char *const registers[][4] = {
	{ "r15", "r15d", "r15w", "r15b" }, { "r14", "r14d", "r14w", "r14b" },
	{ "r13", "r13d", "r13w", "r13b" }, { "r12", "r12d", "r12w", "r12b" },
	{ "rbp", "ebp", "bp", "bpl" },	   { "rbx", "ebx", "bx", "bl" },
	{ "r11", "r11d", "r11w", "r11b" }, { "r10", "r10d", "r10w", "r10b" },
	{ "r9", "r9d", "r9w", "r9b" },	   { "r8", "r8d", "r8w", "r8b" },
	{ "rax", "eax", "ax", "al" },	   { "rcx", "ecx", "cx", "cl" },
	{ "rdx", "edx", "dx", "dl" },	   { "rsi", "esi", "si", "sil" },
	{ "rdi", "edi", "di", "dil" },	   { NULL, NULL, NULL, NULL }, /* orig_rax */
	{ "rip", "eip", NULL, NULL },	   { NULL, NULL, NULL, NULL }, /* cs */
	{ NULL, NULL, NULL, NULL },				       /* eflags */
	{ "rsp", "esp", "sp", "spl" },
};

/* "%rax", n characters with the percent sign. */
static bool parse_register(const char *text, size_t n, uint32_t *ret_offset)
{
	if (n < 3 || text[0] != '%')
		return false;
	for (uint32_t i = 0; i < ARRAY_SIZE(registers); i++) {
		for (size_t k = 0; k < 4; k++) {
			const char *name = registers[i][k];

			if (name != NULL && strlen(name) == n - 1 &&
			    strncmp(name, text + 1, n - 1) == 0) {
				*ret_offset = i * 8;
				return true;
			}
		}
	}
	return false;
}

/* What stands after the "@", n characters: $NUMBER, %REGISTER or [NUMBER](%REGISTER). */
static bool parse_operand(const char *text, size_t n, struct resolver_argument *ret)
{
	char *end = (char *)(uintptr_t)text;

	if (n > 1 && text[0] == '$') {
		ret->type = RESOLVER_ARGUMENT_CONSTANT;
		ret->value = (uint64_t)strtoll(text + 1, &end, 0);
		return end == text + n;
	}
	ret->type = RESOLVER_ARGUMENT_REGISTER;
	if (parse_register(text, n, &ret->register_offset))
		return true;
	if (text[0] != '(')
		ret->value = (uint64_t)strtoll(text, &end, 0);
	ret->type = RESOLVER_ARGUMENT_MEMORY;
	n -= (size_t)(end - text);
	return n > 2 && end[0] == '(' && end[n - 1] == ')' &&
	       parse_register(end + 1, n - 2, &ret->register_offset);
}

#else

static bool parse_operand(const char *text, size_t n, struct resolver_argument *ret)
{
	(void)text;
	(void)n;
	(void)ret;
	return false;
}

#endif

static enum resolver_status parse_arguments(const char *text, struct resolver_place *ret)
{
	size_t n;

	for (text += strspn(text, " "); *text != '\0'; text += n + strspn(text + n, " ")) {
		struct resolver_argument *argument = &ret->arguments[ret->n_arguments];
		char *at;
		long size = strtol(text, &at, 10);

		n = strcspn(text, " ");
		if (ret->n_arguments == RESOLVER_ARGUMENTS_MAX)
			return RESOLVER_ARGUMENT_UNSUPPORTED;
		argument->is_signed = size < 0;
		size = labs(size);
		if (at <= text || at >= text + n || *at != '@' ||
		    (size != 1 && size != 2 && size != 4 && size != 8) ||
		    !parse_operand(at + 1, n - (size_t)(at + 1 - text), argument))
			return RESOLVER_ARGUMENT_UNSUPPORTED;
		argument->size = (uint32_t)size;
		ret->n_arguments++;
	}
	return RESOLVER_OK;
}

/* ---- notes */

/* Next string of a descriptor; NULL if it does not end within. */
static const char *next_string(const char **at, const char *end)
{
	const char *text = *at, *nul = memchr(text, '\0', (size_t)(end - text));

	if (nul == NULL)
		return NULL;
	*at = nul + 1;
	return text;
}

static bool parse_note(const char *desc, size_t n, struct note *ret)
{
	uint64_t addresses[3];
	const char *at = desc + sizeof(addresses), *end = desc + n;

	if (n < sizeof(addresses) + 3)
		return false;
	memcpy(addresses, desc, sizeof(addresses));
	*ret = (struct note){ .place = addresses[0],
			      .base = addresses[1],
			      .semaphore = addresses[2] };
	ret->provider = next_string(&at, end);
	ret->name = ret->provider != NULL ? next_string(&at, end) : NULL;
	ret->arguments = ret->name != NULL ? next_string(&at, end) : NULL;
	return ret->arguments != NULL;
}

/* Whether a note is of the probe "PROVIDER:NAME". */
static bool is_wanted(const struct note *note, const char *probe)
{
	const size_t n = strlen(note->provider);

	return strncmp(probe, note->provider, n) == 0 && probe[n] == ':' &&
	       strcmp(probe + n + 1, note->name) == 0;
}

/* A prelinked file: how far it was moved after its notes were written. */
static uint64_t moved_by(Elf *elf, uint64_t noted_base)
{
	GElf_Shdr header;

	if (noted_base == 0 || elf_section(elf, ".stapsdt.base", &header) == NULL)
		return 0;
	return header.sh_addr - noted_base;
}

static enum resolver_status add_place(Elf *elf, uint64_t file_size, const struct note *note,
				      struct resolver_places *ret)
{
	const uint64_t moved = moved_by(elf, note->base);
	struct resolver_place *place = &ret->places[ret->n];
	enum resolver_status status;

	if (ret->n == RESOLVER_PLACES_MAX)
		return RESOLVER_TOO_MANY_PLACES;
	status = elf_offset(elf, note->place + moved, PF_X, file_size, &place->offset);
	if (status == RESOLVER_OK && note->semaphore != 0)
		status = elf_offset(elf, note->semaphore + moved, PF_W, file_size,
				    &place->semaphore);
	if (status == RESOLVER_OK)
		status = parse_arguments(note->arguments, place);
	if (status == RESOLVER_OK)
		ret->n++;
	return status;
}

static enum resolver_status find(int fd, const char *probe, uint64_t file_size,
				 struct resolver_places *ret)
{
	_cleanup_(elf_done) Elf *elf = NULL;
	enum resolver_status status = RESOLVER_OK;
	size_t at = 0, name, desc;
	Elf_Data *data;
	Elf_Scn *section;
	GElf_Shdr header;
	GElf_Nhdr note_header;

	elf = elf_open(fd);
	if (elf == NULL)
		return RESOLVER_NOT_ELF;
	section = elf_section(elf, ".note.stapsdt", &header);
	if (section == NULL)
		return RESOLVER_PROBE_NOT_FOUND;
	data = elf_getdata(section, NULL);
	if (data == NULL)
		return RESOLVER_MALFORMED;
	while (status == RESOLVER_OK &&
	       (at = gelf_getnote(data, at, &note_header, &name, &desc)) > 0) {
		const char *bytes = data->d_buf;
		struct note note;

		if (note_header.n_type != NOTE_TYPE || note_header.n_namesz != sizeof(NOTE_NAME) ||
		    memcmp(bytes + name, NOTE_NAME, sizeof(NOTE_NAME)) != 0)
			continue;
		if (!parse_note(bytes + desc, note_header.n_descsz, &note))
			return RESOLVER_MALFORMED;
		if (is_wanted(&note, probe))
			status = add_place(elf, file_size, &note, ret);
	}
	return status == RESOLVER_OK && ret->n == 0 ? RESOLVER_PROBE_NOT_FOUND : status;
}

void resolver_resolve_usdt(int fd, const char *probe, struct resolver_result *ret,
			   struct resolver_places *ret_places)
{
	struct resolver_result result = { .protocol = RESOLVER_PROTOCOL };
	struct stat st;

	memset(ret_places, 0, sizeof(*ret_places));
	if (fstat(fd, &st) < 0) {
		result.status = RESOLVER_IO;
		result.sys_errno = errno;
	} else {
		result.status = (uint32_t)find(fd, probe, (uint64_t)st.st_size, ret_places);
	}
	if (result.status == RESOLVER_OK) {
		result.dev = st.st_dev;
		result.inode = st.st_ino;
		result.n_places = (uint32_t)ret_places->n;
	} else {
		memset(ret_places, 0, sizeof(*ret_places));
	}
	*ret = result;
}
