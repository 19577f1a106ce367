/* What symbols and probes have in common: opening an ELF file, its sections, places in the file. */
#pragma once

#include <gelf.h>
#include <libelf.h>
#include <stdint.h>

#include "daemon/resolver/protocol.h"

/* An executable or shared object of this machine, NULL if fd is none. End with elf_done(). */
Elf *elf_open(int fd);
void elf_done(Elf **elf);

/* The section of a name and its header, NULL if there is none. */
Elf_Scn *elf_section(Elf *elf, const char *name, GElf_Shdr *ret);

/* The place in the file of an address in a segment that has the flags (PF_X, PF_W). */
enum resolver_status elf_offset(Elf *elf, uint64_t address, uint32_t flags, uint64_t file_size,
				uint64_t *ret);
