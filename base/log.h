/*
 * Log lines of the daemons and the tools, on stderr. Libraries do not log: they return errors.
 * A line is "<N>" (the syslog priority, when stderr is the journal or LOG_PRIORITIES is asked for),
 * the message, then fields as key=value; control characters are escaped.
 */
#pragma once

#include <stdbool.h>

struct error;

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Sets the program name put before each line, and the least important level that is shown. */
void log_init(const char *program, enum log_level level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line for an error: context, message, reason=..., details as fields. */
void log_error(enum log_level level, const struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
