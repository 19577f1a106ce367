/* Where in its source an instruction of an object is, by the object's own line information. */
#include <bpf/btf.h>
#include <libelf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/kernel/load-private.h"

/* .BTF.ext as compilers write it; see Documentation/bpf/btf.rst of Linux. */
struct header {
	uint16_t magic;
	uint8_t version, flags;
	uint32_t size;
	uint32_t functions_offset, functions_size;
	uint32_t lines_offset, lines_size;
};

struct section {
	uint32_t name_offset;
	uint32_t n_records;
};

/* A walk over the records of all sections; libbpf has held sizes and counts against the whole. */
struct walk {
	const uint8_t *at, *end;
	uint32_t record_size, n_left;
	const char *section;
};

struct info {
	const struct btf *btf;
	struct btf_ext *ext;
};

static struct walk walk_over(const struct info *info, bool lines)
{
	uint32_t size;
	const uint8_t *raw = btf_ext__raw_data(info->ext, &size);
	const struct header *header = (const void *)raw;
	const uint8_t *start =
		raw + header->size + (lines ? header->lines_offset : header->functions_offset);
	const uint32_t length = lines ? header->lines_size : header->functions_size;

	if (length < sizeof(uint32_t))
		return (struct walk){ 0 };
	return (struct walk){ .at = start + sizeof(uint32_t),
			      .end = start + length,
			      .record_size = *(const uint32_t *)(const void *)start };
}

/* Never NULL: offsets are those of the object, which may be none of its strings. */
static const char *text_at(const struct btf *btf, uint32_t offset)
{
	const char *text = btf__name_by_offset(btf, offset);

	return text == NULL ? "" : text;
}

static const void *walk_next(struct walk *walk, const struct btf *btf)
{
	const void *record;

	while (walk->n_left == 0) {
		const struct section *section = (const void *)walk->at;

		if (walk->at >= walk->end)
			return NULL;
		walk->section = text_at(btf, section->name_offset);
		walk->n_left = section->n_records;
		walk->at += sizeof(*section);
	}
	record = walk->at;
	walk->at += walk->record_size;
	walk->n_left--;
	return record;
}

static const char *source_of(const struct btf *btf, const struct bpf_line_info *line)
{
	const char *text = text_at(btf, line->line_off);

	return text + strspn(text, " \t");
}

/* The line of the program's n-th instruction; NULL: unknown. */
static const struct bpf_line_info *line_of(const struct info *info, const char *program, uint32_t n)
{
	struct walk functions = walk_over(info, false), lines = walk_over(info, true);
	const struct bpf_line_info *line, *best = NULL;
	const struct bpf_func_info *function;

	while ((function = walk_next(&functions, info->btf)) != NULL) {
		const struct btf_type *type = btf__type_by_id(info->btf, function->type_id);

		if (type != NULL && strcmp(text_at(info->btf, type->name_off), program) == 0)
			break;
	}
	while (function != NULL && (line = walk_next(&lines, info->btf)) != NULL) {
		if (strcmp(lines.section, functions.section) == 0 &&
		    line->insn_off >= function->insn_off &&
		    line->insn_off <= function->insn_off + n * sizeof(struct bpf_insn) &&
		    BPF_LINE_INFO_LINE_NUM(line->line_col) > 0)
			best = line;
	}
	return best;
}

/* The one line that has this text; NULL: none, or several. */
static const struct bpf_line_info *line_by_text(const struct info *info, const char *text)
{
	struct walk lines = walk_over(info, true);
	const struct bpf_line_info *line, *found = NULL;

	while ((line = walk_next(&lines, info->btf)) != NULL) {
		if (strncmp(source_of(info->btf, line), text, LOAD_SOURCE_MAX - 1) != 0)
			continue;
		if (found != NULL && (found->line_col >> 10 != line->line_col >> 10 ||
				      found->file_name_off != line->file_name_off))
			return NULL;
		found = line;
	}
	return found;
}

/* A copy; NULL: the object has none. */
static struct btf_ext *open_ext(const Bpfleet__V1__Object *object)
{
	Elf *elf = elf_version(EV_CURRENT) == EV_NONE
			   ? NULL
			   : elf_memory((char *)object->elf.data, object->elf.len);
	struct btf_ext *ext = NULL;
	Elf_Scn *scn = NULL;
	size_t names;

	while (elf != NULL && ext == NULL && elf_getshdrstrndx(elf, &names) == 0 &&
	       (scn = elf_nextscn(elf, scn)) != NULL) {
		const Elf64_Shdr *section = elf64_getshdr(scn);
		const char *name =
			section == NULL ? NULL : elf_strptr(elf, names, section->sh_name);
		const Elf_Data *data = elf_rawdata(scn, NULL);

		if (name != NULL && data != NULL && strcmp(name, ".BTF.ext") == 0)
			ext = btf_ext__new(data->d_buf, (uint32_t)data->d_size);
	}
	(void)elf_end(elf);
	return ext;
}

static void find(const struct info *info, const char *program, uint32_t n_insns,
		 struct load_log *log)
{
	const struct bpf_line_info *line = NULL;
	const char *file, *slash;

	/* Further ones are of functions that libbpf appended. */
	if (log->insn < n_insns)
		line = line_of(info, program, log->insn);
	if (log->source[0] != '\0' &&
	    (line == NULL ||
	     strncmp(source_of(info->btf, line), log->source, LOAD_SOURCE_MAX - 1) != 0))
		line = line_by_text(info, log->source);
	if (line == NULL)
		return;
	file = text_at(info->btf, line->file_name_off);
	slash = strrchr(file, '/');
	(void)snprintf(log->file, sizeof(log->file), "%s", slash == NULL ? file : slash + 1);
	(void)snprintf(log->source, sizeof(log->source), "%s", source_of(info->btf, line));
	log->line = BPF_LINE_INFO_LINE_NUM(line->line_col);
}

void load_line_find(const Bpfleet__V1__Object *object, const struct btf *btf, const char *program,
		    uint32_t n_insns, struct load_log *log)
{
	struct info info = { .btf = btf };

	if (log->line != 0 || btf == NULL)
		return;
	info.ext = open_ext(object);
	/* libbpf gives errors as pointers below zero where a caller has not asked for none. */
	if (info.ext != NULL && libbpf_get_error(info.ext) == 0) {
		find(&info, program, n_insns, log);
		btf_ext__free(info.ext);
	}
}
