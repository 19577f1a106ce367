/*
 * Tables for people: aligned columns, right-aligned numbers, colours and cut cells on a terminal
 * only. Rows are gathered and printed by sheet_flush(); a sheet may go on after a flush, with
 * columns that only grow, so that endless streams stay readable.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"

struct sheet;

enum sheet_flags {
	SHEET_RIGHT = 1 << 0,
	/* Left out when no row of the first flush has anything in it. */
	SHEET_OPTIONAL = 1 << 1,
	/* May be cut, with an ellipsis, when the terminal is too narrow. */
	SHEET_CUT = 1 << 2,
};

enum sheet_colour {
	SHEET_PLAIN,
	SHEET_GOOD,
	SHEET_BAD,
	SHEET_DOUBTFUL,
	SHEET_FAINT,
};

struct sheet_options {
	bool colour;
	unsigned int width; /* columns of the terminal; 0: unlimited */
	bool no_header;
};

/* New, for out, which is borrowed; NULL when out of memory. Free with sheet_free(), which prints
 * nothing. */
struct sheet *sheet_new(FILE *out, const struct sheet_options *options);
void sheet_free(struct sheet *sheet);
DEFINE_CLEANUP(struct sheet, sheet_free)

#define SHEET_COLUMNS_MAX 64
/* Adds a column; the title is copied. Before the first row. */
void sheet_column(struct sheet *sheet, const char *title, unsigned int flags);

/* The last column added is at least that wide; for streams, whose next rows are not known. */
void sheet_widen(struct sheet *sheet, size_t width);

/*
 * The next cell of the row; a row ends when it has as many as there are columns. Text is escaped.
 * Running out of memory shows at sheet_flush().
 */
void sheet_text(struct sheet *sheet, const char *text);
void sheet_bytes(struct sheet *sheet, const void *bytes, size_t n);
void sheet_textf(struct sheet *sheet, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same with a colour. */
void sheet_coloured(struct sheet *sheet, enum sheet_colour colour, const char *text);
/* Takes what s holds, which is printable already, and leaves it empty. */
void sheet_take(struct sheet *sheet, struct str *s);

/* Rows since the last flush. */
size_t sheet_n_rows(const struct sheet *sheet);

/* Prints the header, the first time, and the rows. 0, -ENOMEM, or the errno of writing. */
_must_check_ int sheet_flush(struct sheet *sheet);
