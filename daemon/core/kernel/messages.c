#include "daemon/core/kernel/messages.h"

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct messages *current;

static void note_program(struct messages *m, const char *line)
{
	static const char prefix[] = "prog '";
	const char *end;
	size_t n;

	if (strncmp(line, prefix, sizeof(prefix) - 1) != 0)
		return;
	line += sizeof(prefix) - 1;
	end = strchr(line, '\'');
	n = end != NULL ? (size_t)(end - line) : 0;
	if (n == 0 || n >= sizeof(m->program))
		return;
	memcpy(m->program, line, n);
	m->program[n] = '\0';
}

static void note_text(struct messages *m, const char *line)
{
	const size_t used = strlen(m->text);

	(void)snprintf(m->text + used, sizeof(m->text) - used, "%s%.*s", used > 0 ? "; " : "",
		       (int)strcspn(line, "\n"), line);
}

__attribute__((format(printf, 2, 0))) static int print(enum libbpf_print_level level,
						       const char *format, va_list args)
{
	static const char prefix[] = "libbpf: ";
	struct messages *m = current;
	char buffer[384];
	const char *line = buffer;
	int n;

	if (m == NULL || level != LIBBPF_WARN)
		return 0;
	n = vsnprintf(buffer, sizeof(buffer), format, args);
	if (strncmp(line, prefix, sizeof(prefix) - 1) == 0)
		line += sizeof(prefix) - 1;
	note_program(m, line);
	note_text(m, line);
	return n;
}

void messages_install(void)
{
	(void)libbpf_set_print(print);
}

void messages_begin(struct messages *m)
{
	m->text[0] = '\0';
	m->program[0] = '\0';
	current = m;
}

void messages_end(void)
{
	current = NULL;
}
