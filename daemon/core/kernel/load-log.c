#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/kernel/load-private.h"

/* "R1=ctx() R10=fp0", "frame1: R0_w=1": registers, not words about them. */
static bool is_state(const char *line, size_t n)
{
	size_t at = 0;

	if (n > 5 && strncmp(line, "frame", 5) == 0)
		return true;
	if (n == 0 || line[at++] != 'R')
		return false;
	while (at < n && (isdigit((unsigned char)line[at]) || line[at] == '_' || line[at] == 'w' ||
			  line[at] == 'r'))
		at++;
	return at < n && line[at] == '=';
}

/* "12: (71) r0 = ...", "; source", "from 3 to 5: ...": the way to the refusal, not its reason. */
static bool is_trace(const char *line, size_t n)
{
	const size_t digits = strspn(line, "0123456789");

	return n == 0 || line[0] == ';' || (digits > 0 && digits < n && line[digits] == ':') ||
	       (n > 5 && strncmp(line, "from ", 5) == 0) || is_state(line, n);
}

static bool is_statistics(const char *line, size_t n)
{
	static const char *const begins[] = { "processed ", "verification time ", "stack depth " };

	for (size_t i = 0; i < ARRAY_SIZE(begins); i++) {
		if (n >= strlen(begins[i]) && strncmp(line, begins[i], strlen(begins[i])) == 0)
			return true;
	}
	return false;
}

/* Start and length of the line that ends before `end`, without blanks around it. */
static const char *line_before(const char *log, const char *end, size_t *ret_n)
{
	const char *start = end;

	while (start > log && start[-1] != '\n')
		start--;
	while (end > start && isspace((unsigned char)end[-1]))
		end--;
	*ret_n = (size_t)(end - start);
	return start;
}

void load_log_verdict(const char *log, char *out, size_t size)
{
	const char *first = NULL, *second = NULL, *end = log + strlen(log);
	size_t n_first = 0, n_second = 0;

	while (end > log) {
		size_t n;
		const char *line = line_before(log, end, &n);

		end = line > log ? line - 1 : log;
		if (is_statistics(line, n) || (n == 0 && first == NULL))
			continue;
		if (is_trace(line, n))
			break;
		second = first;
		n_second = n_first;
		first = line;
		n_first = n;
	}
	(void)snprintf(out, size, "%.*s%s%.*s", (int)n_first, first == NULL ? "" : first,
		       second == NULL ? "" : "; ", (int)n_second, second == NULL ? "" : second);
}
