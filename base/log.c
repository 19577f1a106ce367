#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

static const char *log_program = "bpfleet";
static enum log_level log_max = LOG_LEVEL_INFO;
static bool log_priorities;

void log_init(const char *program, enum log_level level)
{
	log_program = program;
	log_max = level;
	log_priorities = getenv("JOURNAL_STREAM") != NULL;
}

/* One write(2) a line, so that lines of several threads and processes do not mix. */
static void emit(enum log_level level, const char *message)
{
	struct str line = { 0 };

	if (log_priorities)
		(void)str_appendf(&line, "<%d>", (int)level);
	(void)str_appendf(&line, "%s: ", log_program);
	(void)str_append_escaped(&line, message, SIZE_MAX);
	(void)str_append(&line, "\n");
	if (!line.failed)
		(void)!write(STDERR_FILENO, line.data, line.len);
	str_done(&line);
}

void log_line(enum log_level level, const char *format, ...)
{
	char message[2048];
	va_list args;

	if (level > log_max)
		return;
	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	emit(level, message);
}

void log_error(enum log_level level, const struct error *err, const char *format, ...)
{
	char context[512];
	struct str message = { 0 };
	va_list args;

	if (level > log_max)
		return;
	va_start(args, format);
	(void)vsnprintf(context, sizeof(context), format, args);
	va_end(args);
	(void)str_appendf(&message, "%s: %s reason=%s", context, err->message,
			  error_info(err->code)->reason);
	for (size_t i = 0; i < err->n_details; i++)
		(void)str_appendf(&message, " %s=%s", err->details[i].key, err->details[i].value);
	emit(level, message.failed ? context : message.data);
	str_done(&message);
}
