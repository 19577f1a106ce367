#include "daemon/resolver/resolve.h"

#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "daemon/resolver/elf.h"

#define VERSION_HIDDEN 0x8000
#define VERSION_INDEX 0x7fff

/* What matched best so far. Global beats local; two of one rank at two addresses are ambiguous. */
struct search {
	Elf *elf;
	const struct resolver_symbol *wanted;
	Elf_Data *versym, *verdef;
	size_t verdef_strings; /* section */
	bool found, ambiguous, indirect, local;
	uint64_t address, size;
};

enum resolver_status resolver_parse(const char *text, struct resolver_symbol *ret)
{
	size_t len = strlen(text);
	char *plus, *at;

	memset(ret, 0, sizeof(*ret));
	if (len == 0 || len >= sizeof(ret->name))
		return RESOLVER_BAD_SYMBOL;
	memcpy(ret->name, text, len);
	plus = strrchr(ret->name, '+');
	if (plus != NULL) {
		*plus = '\0';
		if (str_to_u64(plus + 1, UINT32_MAX, &ret->offset) < 0)
			return RESOLVER_BAD_SYMBOL;
	}
	at = strchr(ret->name, '@');
	if (at != NULL) {
		*at = '\0';
		ret->only_default = at[1] == '@';
		ret->version = at + 1 + ret->only_default;
		if (ret->version[0] == '\0' || strchr(ret->version, '@') != NULL)
			return RESOLVER_BAD_SYMBOL;
	}
	return ret->name[0] != '\0' ? RESOLVER_OK : RESOLVER_BAD_SYMBOL;
}

/* Name of a version by its index in the table of definitions; NULL if there is none. */
static const char *version_name(const struct search *s, unsigned int index)
{
	int offset = 0;

	while (s->verdef != NULL) {
		GElf_Verdef def;
		GElf_Verdaux aux;

		if (gelf_getverdef(s->verdef, offset, &def) == NULL)
			return NULL;
		if ((def.vd_ndx & VERSION_INDEX) == index) {
			if (def.vd_aux > INT32_MAX - (unsigned int)offset ||
			    gelf_getverdaux(s->verdef, offset + (int)def.vd_aux, &aux) == NULL)
				return NULL;
			return elf_strptr(s->elf, s->verdef_strings, aux.vda_name);
		}
		if (def.vd_next == 0 || def.vd_next > INT32_MAX - (unsigned int)offset)
			return NULL;
		offset += (int)def.vd_next;
	}
	return NULL;
}

/* Whether a version (NULL: none) that is or is not the default one is what is wanted. */
static bool version_fits(const struct resolver_symbol *wanted, const char *version, bool is_default)
{
	if (wanted->version == NULL)
		return is_default;
	return version != NULL && strcmp(version, wanted->version) == 0 &&
	       (is_default || !wanted->only_default);
}

/* Symbol i of .dynsym: its version is in a table beside it. */
static bool dynamic_fits(const struct search *s, size_t i)
{
	GElf_Versym index;

	if (s->versym == NULL || i > INT32_MAX || gelf_getversym(s->versym, (int)i, &index) == NULL)
		return s->wanted->version == NULL;
	return version_fits(s->wanted, version_name(s, index & VERSION_INDEX),
			    (index & VERSION_HIDDEN) == 0);
}

/* A name of .symtab: its version, if any, is part of it. */
static bool name_fits(const struct search *s, const char *name, bool dynamic, size_t i)
{
	size_t len = strcspn(name, "@");
	bool is_default = name[len] == '\0' || name[len + 1] == '@';
	const char *version = NULL;

	if (strncmp(name, s->wanted->name, len) != 0 || s->wanted->name[len] != '\0')
		return false;
	if (dynamic)
		return dynamic_fits(s, i);
	if (name[len] != '\0')
		version = name + len + (is_default ? 2 : 1);
	return version_fits(s->wanted, version, is_default);
}

static void take(struct search *s, const GElf_Sym *symbol)
{
	bool local = GELF_ST_BIND(symbol->st_info) == STB_LOCAL;

	if (s->found && local && !s->local)
		return;
	if (s->found && local == s->local) {
		s->ambiguous = s->ambiguous || symbol->st_value != s->address;
		return;
	}
	s->found = true;
	s->ambiguous = false;
	s->local = local;
	s->indirect = GELF_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC;
	s->address = symbol->st_value;
	s->size = symbol->st_size;
}

static enum resolver_status search_table(struct search *s, Elf_Scn *section,
					 const GElf_Shdr *header)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t n, size = gelf_fsize(s->elf, ELF_T_SYM, 1, EV_CURRENT);

	if (data == NULL || size == 0 || header->sh_entsize != size)
		return RESOLVER_MALFORMED;
	n = data->d_size / size;
	for (size_t i = 1; i < n && i <= INT32_MAX; i++) {
		const char *name;
		GElf_Sym symbol;

		if (gelf_getsym(data, (int)i, &symbol) == NULL)
			return RESOLVER_MALFORMED;
		if ((GELF_ST_TYPE(symbol.st_info) != STT_FUNC &&
		     GELF_ST_TYPE(symbol.st_info) != STT_GNU_IFUNC) ||
		    symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS)
			continue;
		name = elf_strptr(s->elf, header->sh_link, symbol.st_name);
		if (name != NULL && name_fits(s, name, header->sh_type == SHT_DYNSYM, i))
			take(s, &symbol);
	}
	return RESOLVER_OK;
}

/* Visits all sections of a type. */
static enum resolver_status visit(struct search *s, unsigned int type)
{
	Elf_Scn *section = NULL;

	while ((section = elf_nextscn(s->elf, section)) != NULL) {
		enum resolver_status status = RESOLVER_OK;
		GElf_Shdr header;

		if (gelf_getshdr(section, &header) == NULL)
			return RESOLVER_MALFORMED;
		if (header.sh_type != type)
			continue;
		if (type == SHT_GNU_versym) {
			s->versym = elf_getdata(section, NULL);
		} else if (type == SHT_GNU_verdef) {
			s->verdef = elf_getdata(section, NULL);
			s->verdef_strings = header.sh_link;
		} else {
			status = search_table(s, section, &header);
		}
		if (status != RESOLVER_OK)
			return status;
	}
	return RESOLVER_OK;
}

static enum resolver_status find(int fd, const struct resolver_symbol *wanted, uint64_t file_size,
				 struct resolver_result *result)
{
	static const unsigned int types[] = { SHT_GNU_versym, SHT_GNU_verdef, SHT_DYNSYM,
					      SHT_SYMTAB };
	_cleanup_(elf_done) Elf *elf = NULL;
	struct search s = { .wanted = wanted };

	elf = elf_open(fd);
	if (elf == NULL)
		return RESOLVER_NOT_ELF;
	s.elf = elf;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		enum resolver_status status = visit(&s, types[i]);

		if (status != RESOLVER_OK)
			return status;
	}
	if (!s.found)
		return RESOLVER_SYMBOL_NOT_FOUND;
	if (s.ambiguous)
		return RESOLVER_SYMBOL_AMBIGUOUS;
	if (s.indirect)
		return RESOLVER_SYMBOL_UNSUPPORTED;
	if ((s.size > 0 && wanted->offset >= s.size) || s.address > UINT64_MAX - wanted->offset)
		return RESOLVER_OFFSET_OUTSIDE;
	result->size_bytes = s.size;
	return elf_offset(elf, s.address + wanted->offset, PF_X, file_size, &result->offset);
}

void resolver_resolve(int fd, const char *symbol, struct resolver_result *ret)
{
	struct resolver_result result = { .protocol = RESOLVER_PROTOCOL };
	struct resolver_symbol wanted;
	struct stat st;

	result.status = (uint32_t)resolver_parse(symbol, &wanted);
	if (result.status == RESOLVER_OK && fstat(fd, &st) < 0) {
		result.status = RESOLVER_IO;
		result.sys_errno = errno;
	} else if (result.status == RESOLVER_OK) {
		result.status = (uint32_t)find(fd, &wanted, (uint64_t)st.st_size, &result);
	}
	if (result.status == RESOLVER_OK) {
		result.dev = st.st_dev;
		result.inode = st.st_ino;
	} else {
		result.offset = 0;
		result.size_bytes = 0;
	}
	*ret = result;
}
