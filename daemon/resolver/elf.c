#include "daemon/resolver/elf.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__riscv)
#define MACHINE EM_RISCV
#elif defined(__s390x__)
#define MACHINE EM_S390
#elif defined(__powerpc64__)
#define MACHINE EM_PPC64
#endif

void elf_done(Elf **elf)
{
	if (*elf != NULL)
		(void)elf_end(*elf);
}

/* elf(5), program headers: the segment that maps an address gives the place in the file. */
enum resolver_status elf_offset(Elf *elf, uint64_t address, uint32_t flags, uint64_t file_size,
				uint64_t *ret)
{
	size_t n;

	if (elf_getphdrnum(elf, &n) != 0)
		return RESOLVER_MALFORMED;
	for (size_t i = 0; i < n && i <= INT32_MAX; i++) {
		GElf_Phdr p;

		if (gelf_getphdr(elf, (int)i, &p) == NULL)
			return RESOLVER_MALFORMED;
		if (p.p_type != PT_LOAD || (p.p_flags & flags) == 0 || address < p.p_vaddr ||
		    address - p.p_vaddr >= p.p_filesz)
			continue;
		if (p.p_offset > file_size || address - p.p_vaddr >= file_size - p.p_offset)
			return RESOLVER_MALFORMED;
		*ret = address - p.p_vaddr + p.p_offset;
		return RESOLVER_OK;
	}
	return RESOLVER_NOT_EXECUTABLE;
}

static bool is_ours(Elf *elf)
{
	GElf_Ehdr header;

	return elf_kind(elf) == ELF_K_ELF && gelf_getehdr(elf, &header) != NULL &&
	       header.e_machine == MACHINE && header.e_ident[EI_CLASS] == ELFCLASS64 &&
	       (header.e_type == ET_EXEC || header.e_type == ET_DYN);
}

Elf *elf_open(int fd)
{
	Elf *elf;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return NULL;
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (elf != NULL && is_ours(elf))
		return elf;
	elf_done(&elf);
	return NULL;
}

Elf_Scn *elf_section(Elf *elf, const char *name, GElf_Shdr *ret)
{
	Elf_Scn *section = NULL;
	size_t names;

	if (elf_getshdrstrndx(elf, &names) != 0)
		return NULL;
	while ((section = elf_nextscn(elf, section)) != NULL) {
		const char *found;

		if (gelf_getshdr(section, ret) == NULL)
			return NULL;
		found = elf_strptr(elf, names, ret->sh_name);
		if (found != NULL && strcmp(found, name) == 0)
			return section;
	}
	return NULL;
}
