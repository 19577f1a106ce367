#define _GNU_SOURCE
#include "client/sheet.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CUT_MIN 12U
#define GAP 2U

struct cell {
	char *text;
	size_t width;
	enum sheet_colour colour;
};

struct column {
	char *title;
	unsigned int flags;
	size_t width;
	size_t limit; /* after cutting; SIZE_MAX: none */
	bool shown;
};

struct sheet {
	FILE *out;
	struct sheet_options options;
	struct column columns[SHEET_COLUMNS_MAX];
	size_t n_columns;
	struct cell *cells;
	size_t n_cells;
	size_t capacity;
	bool header_printed;
	bool failed;
};

static const char *const colour_codes[] = {
	[SHEET_PLAIN] = "",	   [SHEET_GOOD] = "\033[32m",
	[SHEET_BAD] = "\033[31m",  [SHEET_DOUBTFUL] = "\033[33m",
	[SHEET_FAINT] = "\033[2m",
};

struct sheet *sheet_new(FILE *out, const struct sheet_options *options)
{
	struct sheet *sheet = calloc(1, sizeof(*sheet));

	if (sheet == NULL)
		return NULL;
	sheet->out = out;
	sheet->options = *options;
	return sheet;
}

static void forget_rows(struct sheet *sheet)
{
	for (size_t i = 0; i < sheet->n_cells; i++)
		free(sheet->cells[i].text);
	sheet->n_cells = 0;
}

void sheet_free(struct sheet *sheet)
{
	if (sheet == NULL)
		return;
	forget_rows(sheet);
	free(sheet->cells);
	for (size_t i = 0; i < sheet->n_columns; i++)
		free(sheet->columns[i].title);
	free(sheet);
}

/* Code points: what is printed has no control characters; wide ones are rare enough. */
static size_t display_width(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static size_t bytes_of_width(const char *text, size_t width)
{
	size_t n = 0, i;

	for (i = 0; text[i] != '\0'; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80 && n++ == width)
			break;
	}
	return i;
}

void sheet_column(struct sheet *sheet, const char *title, unsigned int flags)
{
	struct str escaped = { 0 };
	struct column *column;

	if (sheet->n_columns == SHEET_COLUMNS_MAX) {
		sheet->failed = true;
		return;
	}
	column = &sheet->columns[sheet->n_columns++];
	(void)str_append_escaped(&escaped, title, SIZE_MAX);
	*column = (struct column){ .title = str_take(&escaped), .flags = flags, .limit = SIZE_MAX };
	if (column->title == NULL) {
		sheet->failed = true;
		return;
	}
	column->width = sheet->options.no_header ? 0 : display_width(column->title);
}

void sheet_widen(struct sheet *sheet, size_t width)
{
	struct column *column = &sheet->columns[sheet->n_columns - 1];

	if (column->width < width)
		column->width = width;
}

static void add_cell(struct sheet *sheet, char *text, enum sheet_colour colour)
{
	struct cell *cells;
	size_t capacity;

	if (sheet->n_cells == sheet->capacity) {
		capacity = sheet->capacity == 0 ? 256 : 2 * sheet->capacity;
		cells = reallocarray(sheet->cells, capacity, sizeof(*cells));
		if (cells == NULL) {
			free(text);
			text = NULL;
		} else {
			sheet->cells = cells;
			sheet->capacity = capacity;
		}
	}
	if (text == NULL) {
		sheet->failed = true;
		return;
	}
	sheet->cells[sheet->n_cells++] =
		(struct cell){ .text = text, .width = display_width(text), .colour = colour };
}

void sheet_bytes(struct sheet *sheet, const void *bytes, size_t n)
{
	struct str escaped = { 0 };

	(void)str_append_escaped(&escaped, bytes, n);
	add_cell(sheet, str_take(&escaped), SHEET_PLAIN);
}

void sheet_text(struct sheet *sheet, const char *text)
{
	sheet_bytes(sheet, text, SIZE_MAX);
}

void sheet_coloured(struct sheet *sheet, enum sheet_colour colour, const char *text)
{
	struct str escaped = { 0 };

	(void)str_append_escaped(&escaped, text, SIZE_MAX);
	add_cell(sheet, str_take(&escaped), colour);
}

void sheet_textf(struct sheet *sheet, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0) {
		sheet->failed = true;
		return;
	}
	sheet_text(sheet, text);
	free(text);
}

void sheet_take(struct sheet *sheet, struct str *s)
{
	add_cell(sheet, str_take(s), SHEET_PLAIN);
}

size_t sheet_n_rows(const struct sheet *sheet)
{
	return sheet->n_columns == 0 ? 0 : sheet->n_cells / sheet->n_columns;
}

static struct cell *cell_at(const struct sheet *sheet, size_t row, size_t column)
{
	return &sheet->cells[row * sheet->n_columns + column];
}

/* Which columns there are; decided once, by the first rows. */
static void choose_columns(struct sheet *sheet)
{
	for (size_t c = 0; c < sheet->n_columns; c++) {
		struct column *column = &sheet->columns[c];

		column->shown = (column->flags & SHEET_OPTIONAL) == 0;
		for (size_t r = 0; !column->shown && r < sheet_n_rows(sheet); r++)
			column->shown = cell_at(sheet, r, c)->text[0] != '\0';
	}
}

static size_t shown_width(const struct sheet *sheet)
{
	size_t total = 0;

	for (size_t c = 0; c < sheet->n_columns; c++) {
		const struct column *column = &sheet->columns[c];

		if (column->shown)
			total += GAP +
				 (column->width < column->limit ? column->width : column->limit);
	}
	return total == 0 ? 0 : total - GAP;
}

/* Takes width from the widest column that may be cut, until the row fits or none is left. */
static void fit(struct sheet *sheet)
{
	if (sheet->options.width == 0)
		return;
	while (shown_width(sheet) > sheet->options.width) {
		struct column *widest = NULL;
		size_t most = CUT_MIN;

		for (size_t c = 0; c < sheet->n_columns; c++) {
			struct column *column = &sheet->columns[c];
			size_t width =
				column->width < column->limit ? column->width : column->limit;

			if (!column->shown || (column->flags & SHEET_CUT) == 0 || width <= most)
				continue;
			most = width;
			widest = column;
		}
		if (widest == NULL)
			return;
		widest->limit = most - 1;
	}
}

static void print_cell(const struct sheet *sheet, const struct column *column, const char *text,
		       size_t width, const char *colour, bool last)
{
	size_t room = column->width < column->limit ? column->width : column->limit;
	bool cut = width > column->limit;
	size_t printed = cut ? column->limit : width;
	size_t padding = room > printed ? room - printed : 0;
	bool coloured = sheet->options.colour && colour[0] != '\0';

	if ((column->flags & SHEET_RIGHT) != 0)
		(void)fprintf(sheet->out, "%*s", (int)padding, "");
	if (coloured)
		(void)fputs(colour, sheet->out);
	if (cut)
		(void)fprintf(sheet->out, "%.*s\xe2\x80\xa6",
			      (int)bytes_of_width(text, column->limit - 1), text);
	else
		(void)fputs(text, sheet->out);
	if (coloured)
		(void)fputs("\033[0m", sheet->out);
	if ((column->flags & SHEET_RIGHT) == 0 && !last)
		(void)fprintf(sheet->out, "%*s", (int)padding, "");
	if (!last)
		(void)fprintf(sheet->out, "%*s", (int)GAP, "");
}

/* The last column of the row that has text: nothing is padded after it. */
static size_t last_column(const struct sheet *sheet, size_t row, bool is_header)
{
	size_t last = 0;

	for (size_t c = 0; c < sheet->n_columns; c++) {
		if (sheet->columns[c].shown &&
		    (is_header || cell_at(sheet, row, c)->text[0] != '\0'))
			last = c;
	}
	return last;
}

static void print_row(const struct sheet *sheet, size_t row, bool is_header)
{
	size_t last = last_column(sheet, row, is_header);

	for (size_t c = 0; c <= last; c++) {
		const struct column *column = &sheet->columns[c];
		const struct cell *cell = is_header ? NULL : cell_at(sheet, row, c);

		if (!column->shown)
			continue;
		if (is_header)
			print_cell(sheet, column, column->title, display_width(column->title),
				   "\033[1m", c == last);
		else
			print_cell(sheet, column, cell->text, cell->width,
				   colour_codes[cell->colour], c == last);
	}
	(void)fputc('\n', sheet->out);
}

int sheet_flush(struct sheet *sheet)
{
	size_t n_rows = sheet_n_rows(sheet);

	if (sheet->failed)
		return -ENOMEM;
	if (!sheet->header_printed)
		choose_columns(sheet);
	for (size_t r = 0; r < n_rows; r++) {
		for (size_t c = 0; c < sheet->n_columns; c++) {
			if (cell_at(sheet, r, c)->width > sheet->columns[c].width)
				sheet->columns[c].width = cell_at(sheet, r, c)->width;
		}
	}
	fit(sheet);
	if (!sheet->header_printed && !sheet->options.no_header && sheet->n_columns > 0)
		print_row(sheet, 0, true);
	sheet->header_printed = true;
	for (size_t r = 0; r < n_rows; r++)
		print_row(sheet, r, false);
	forget_rows(sheet);
	errno = EIO;
	return ferror(sheet->out) ? -errno : 0;
}
