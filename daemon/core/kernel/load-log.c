#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/core/kernel/load-private.h"

/* A line of a log, without blanks around it. */
struct line {
	const char *text;
	size_t n;
};

static bool begins(const struct line *line, const char *with)
{
	return line->n >= strlen(with) && strncmp(line->text, with, strlen(with)) == 0;
}

/* "R1=ctx() R10=fp0", "frame1: R0_w=1": registers, not words about them. */
static bool is_state(const struct line *line)
{
	const size_t at = 1 + (line->n > 0 ? strspn(line->text + 1, "0123456789_wr") : 0);

	return begins(line, "frame") ||
	       (begins(line, "R") && at < line->n && line->text[at] == '=');
}

/* "12: (71) r0 = ...", "; source", "from 3 to 5: ...": the way to the refusal, not its reason. */
static bool is_trace(const struct line *line)
{
	const size_t digits = strspn(line->text, "0123456789");

	return line->n == 0 || begins(line, ";") ||
	       (digits > 0 && digits < line->n && line->text[digits] == ':') ||
	       begins(line, "from ") || is_state(line);
}

/* What the kernel adds behind its reason. */
static bool is_aside(const struct line *line)
{
	return begins(line, "processed ") || begins(line, "verification time ") ||
	       begins(line, "stack depth ") || begins(line, "cur state:") ||
	       begins(line, "old state:");
}

/* The line that ends before `end`; moves that to the end of the one before. */
static struct line line_before(const char *log, const char **end)
{
	const char *start = *end, *stop = *end;

	while (start > log && start[-1] != '\n')
		start--;
	while (stop > start && isspace((unsigned char)stop[-1]))
		stop--;
	*end = start > log ? start - 1 : log;
	return (struct line){ start, (size_t)(stop - start) };
}

static void copy(char *out, size_t size, const char *text, size_t n)
{
	(void)snprintf(out, size, "%.*s", (int)(n < size ? n : size), text);
}

/* "; return a[i]; @ drop.bpf.c:42", before Linux 6.9 without the place. */
static void read_source(const struct line *line, struct load_log *ret)
{
	const char *source = line->text + 1, *end = line->text + line->n, *at = end, *colon = end;

	source += strspn(source, " \t");
	while (colon > source && isdigit((unsigned char)colon[-1]))
		colon--;
	while (at > source && strncmp(at, " @ ", 3) != 0)
		at--;
	if (colon < end && at > source && colon[-1] == ':' && colon - 1 > at + 3) {
		copy(ret->file, sizeof(ret->file), at + 3, (size_t)(colon - 1 - at - 3));
		ret->line = (uint32_t)strtoul(colon, NULL, 10);
		end = at;
	}
	copy(ret->source, sizeof(ret->source), source, source < end ? (size_t)(end - source) : 0);
}

void load_log_read(const char *log, struct load_log *ret)
{
	const char *end = log + strlen(log);
	struct line first = { "", 0 }, second = { "", 0 }, line = { "", 0 };

	*ret = (struct load_log){ .insn = UINT32_MAX };
	while (end > log) {
		line = line_before(log, &end);
		if (is_aside(&line) || (line.n == 0 && first.n == 0))
			continue;
		if (is_trace(&line))
			break;
		second = first;
		first = line;
	}
	(void)snprintf(ret->verdict, sizeof(ret->verdict), "%.*s%s%.*s", (int)first.n, first.text,
		       second.n == 0 ? "" : "; ", (int)second.n, second.text);
	for (; ret->source[0] == '\0'; line = line_before(log, &end)) {
		const size_t digits = strspn(line.text, "0123456789");

		/* Code that the compiler made up is of line 0. */
		if (begins(&line, ";") && !begins(&line, ";  @"))
			read_source(&line, ret);
		else if (ret->insn == UINT32_MAX && digits > 0 && digits < line.n &&
			 strncmp(line.text + digits, ": (", 3) == 0)
			ret->insn = (uint32_t)strtoul(line.text, NULL, 10);
		if (end == log)
			break;
	}
}

/* The number behind the last place where a line has these words; *ret stays if there is none. */
static void read_number(const char *log, const char *words, uint64_t *ret)
{
	for (const char *at = log; (at = strstr(at, words)) != NULL;) {
		at += strlen(words);
		*ret = strtoull(at, NULL, 10);
	}
}

void load_log_figures(const char *log, Bpfleet__V1__VerifierFigures *ret, size_t n_max)
{
	static const struct {
		const char *words;
		size_t offset;
	} counts[] = {
#define COUNT(words, field) { words, offsetof(Bpfleet__V1__VerifierFigures, field) }
		COUNT("processed ", processed_insns),
		COUNT("max_states_per_insn ", max_states_per_insn),
		COUNT("total_states ", total_states),
		COUNT("peak_states ", peak_states),
	};
	const char *depths = strstr(log, "stack depth ");
	uint64_t time_us = 0;

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t value = 0;

		read_number(log, counts[i].words, &value);
		*(uint32_t *)(void *)((char *)ret + counts[i].offset) = (uint32_t)value;
	}
	read_number(log, "verification time ", &time_us);
	ret->verification_time_ns = time_us * (NS_PER_MS / 1000);
	ret->n_stack_depths = 0;
	for (depths = depths == NULL ? "" : depths + strlen("stack depth ");
	     isdigit((unsigned char)*depths) && ret->n_stack_depths < n_max;) {
		char *next;

		ret->stack_depths[ret->n_stack_depths++] = (uint32_t)strtoul(depths, &next, 10);
		depths = next + (*next == '+');
	}
}

/* "4: (18) r1 = 0xffff888104428800": the kernel tells core where its maps are, which nobody else
 * may know. */
void load_log_hide_addresses(char *log)
{
	for (char *at = log; (at = strstr(at, " = 0xffff")) != NULL;) {
		at += strlen(" = 0x");
		if (strspn(at, "0123456789abcdef") >= 16)
			memset(at, '?', 16);
	}
}
