#include "client/trial.h"

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/sheet.h"
#include "client/units.h"

/* Words of a verdict, and what those who read them for the first time need to know. In this order:
 * the first that fits counts. */
static const struct {
	const char *words, *advice;
} advices[] = {
	{ "_or_null'", "what a lookup or an allocation gives may be NULL: compare it before use" },
	{ "invalid access to packet",
	  "compare the pointer plus the size of the access with data_end first" },
	{ "infinite loop", "the loop's condition must come to an end by what the loop counts "
			   "itself; or use bpf_loop()" },
	{ "too large", "the verifier walks every turn of a loop: fewer turns, bpf_loop(), or "
		       "functions that are not static" },
	{ "too complex", "split the program into functions that are not static, or tail calls" },
	{ "unbounded memory access", "compare the index with the number of elements first, in an "
				     "unsigned type" },
	{ "invalid access to map value",
	  "compare the index with the number of elements first, in an unsigned type" },
	{ "mem access 'scalar'", "that is a number to the verifier, not a pointer: read memory of "
				 "the kernel by BPF_CORE_READ() or bpf_probe_read_kernel()" },
	{ "!read_ok", "the variable has no value on one of the ways to this line" },
	{ "Unreleased reference", "give back what was acquired on every way out" },
	{ "CO-RE", "this kernel's types lack that member: guard it by bpf_core_field_exists()" },
	{ "unknown func", "this kernel has no such helper for this type of program: guard it by "
			  "bpf_core_enum_value_exists(), or make the program optional" },
	{ "stack", "a program has 512 bytes of stack: keep large values in a per-CPU array" },
	{ "GPL", "the license section must name one that is compatible with the GPL" },
};

static const char *detail(const struct error *err, const char *key)
{
	for (size_t i = 0; i < err->n_details; i++) {
		if (strcmp(err->details[i].key, key) == 0)
			return err->details[i].value;
	}
	return NULL;
}

const char *trial_advice(const struct error *err)
{
	const char *verdict = detail(err, "verdict");

	for (size_t i = 0; verdict != NULL && i < ARRAY_SIZE(advices); i++) {
		if (strstr(verdict, advices[i].words) != NULL)
			return advices[i].advice;
	}
	return NULL;
}

void trial_append_source(struct str *s, const struct error *err)
{
	const char *file = detail(err, "file"), *line = detail(err, "line");
	const char *source = detail(err, "source");

	if (file != NULL && line != NULL) {
		(void)str_append(s, "  ");
		(void)str_append_escaped(s, file, SIZE_MAX);
		(void)str_append(s, ":");
		(void)str_append_escaped(s, line, SIZE_MAX);
		(void)str_append(s, ":\n");
	}
	if (source == NULL)
		return;
	(void)str_append(s, "  ");
	for (size_t n = line == NULL ? 0 : strlen(line); n < 5; n++)
		(void)str_append(s, " ");
	(void)str_append_escaped(s, line == NULL ? "" : line, SIZE_MAX);
	(void)str_append(s, " | ");
	(void)str_append_escaped(s, source, SIZE_MAX);
	(void)str_append(s, "\n");
}

int trial_refuse(const char *reason, const char *message, const Bpfleet__V1__Rejection *rejection,
		 struct error *err)
{
	const enum error_code code = error_code_from_reason(reason);
	const int r = error_raise(err, code == ERROR_NONE ? ERROR_INTERNAL : code, "%s", message);

	if (rejection == NULL)
		return r;
	error_detail(err, "program", "%s", rejection->program);
	error_detail(err, "object", "%s", rejection->object);
	error_detail(err, "verdict", "%s", rejection->verdict);
	if (rejection->line != 0) {
		error_detail(err, "file", "%s", rejection->file);
		error_detail(err, "line", "%u", rejection->line);
	}
	if (rejection->source[0] != '\0')
		error_detail(err, "source", "%s", rejection->source);
	return r;
}

static void stack_cell(struct sheet *sheet, const Bpfleet__V1__VerifierFigures *figures)
{
	struct str s = { 0 };

	for (size_t i = 0; i < figures->n_stack_depths; i++)
		(void)str_appendf(&s, "%s%u", i == 0 ? "" : "+", figures->stack_depths[i]);
	sheet_take(sheet, &s);
}

static void time_cell(struct sheet *sheet, const Bpfleet__V1__VerifierFigures *figures)
{
	struct str s = { 0 };

	if (figures->verification_time_ns > 0)
		(void)units_append_duration(&s, figures->verification_time_ns);
	sheet_take(sheet, &s);
}

void trial_figures(struct sheet *sheet, const Bpfleet__V1__VerifierFigures *figures)
{
	if (figures == NULL)
		return;
	sheet_text(sheet, "instructions walked");
	sheet_textf(sheet, "%u", figures->processed_insns);
	sheet_text(sheet, "states");
	sheet_textf(sheet, "%u, at most %u at once and %u of one instruction",
		    figures->total_states, figures->peak_states, figures->max_states_per_insn);
	sheet_text(sheet, "stack, bytes");
	stack_cell(sheet, figures);
	sheet_text(sheet, "verification");
	time_cell(sheet, figures);
}

static int print_table(const struct cli *cli, Bpfleet__V1__Program *const *programs, size_t n,
		       struct error *err)
{
	static const Bpfleet__V1__VerifierFigures none = BPFLEET__V1__VERIFIER_FIGURES__INIT;
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0 || n == 0)
		return r;
	sheet_column(sheet, "PROGRAM", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "VERIFIED INSNS", SHEET_RIGHT);
	sheet_column(sheet, "STATES", SHEET_RIGHT);
	sheet_column(sheet, "STACK", SHEET_RIGHT | SHEET_OPTIONAL);
	sheet_column(sheet, "TIME", SHEET_RIGHT | SHEET_OPTIONAL);
	sheet_column(sheet, "HOOKS", SHEET_CUT);
	sheet_column(sheet, "LEFT OUT", SHEET_OPTIONAL | SHEET_CUT);
	for (size_t i = 0; i < n; i++) {
		const Bpfleet__V1__Program *program = programs[i];
		const Bpfleet__V1__VerifierFigures *figures =
			program->verifier != NULL ? program->verifier : &none;
		struct str hooks = { 0 };

		for (size_t k = 0; k < program->n_hooks; k++) {
			(void)str_append(&hooks, k == 0 ? "" : " ");
			(void)str_append_escaped(&hooks, program->hooks[k], SIZE_MAX);
		}
		sheet_text(sheet, program->name);
		sheet_text(sheet, program->type);
		sheet_textf(sheet, "%u", program->verified_insns);
		sheet_textf(sheet, "%u", figures->total_states);
		stack_cell(sheet, figures);
		time_cell(sheet, figures);
		sheet_take(sheet, &hooks);
		sheet_coloured(sheet, SHEET_DOUBTFUL, program->skipped_reason);
	}
	return cli_flush(sheet, err);
}

/* Of the program that has one, indented. */
static void append_log(struct str *s, const Bpfleet__V1__Program *program)
{
	(void)str_append(s, "end of the verifier's log of ");
	(void)str_append_escaped(s, program->name, SIZE_MAX);
	(void)str_append(s, ":");
	for (const char *line = program->verifier_log; *line != '\0';) {
		const size_t n = strcspn(line, "\n");

		(void)str_append(s, "\n    ");
		(void)str_append_escaped(s, line, n);
		line += n + (line[n] == '\n');
	}
}

int trial_print(const struct cli *cli, Bpfleet__V1__Program *const *programs, size_t n,
		uint64_t memory_bytes, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };
	int r = print_table(cli, programs, n, err);

	if (r < 0)
		return r;
	if (memory_bytes > 0) {
		(void)str_append(&s, "memory of programs and maps: ");
		(void)units_append_bytes(&s, memory_bytes);
	}
	for (size_t i = 0; i < n; i++) {
		if (programs[i]->verifier_log[0] != '\0')
			append_log(&s, programs[i]);
	}
	return s.len == 0 && !s.failed ? 0 : cli_print_str(cli, &s, err);
}
