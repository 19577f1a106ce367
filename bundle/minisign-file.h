/* The text around minisign's keys and signatures: comment lines and base64 lines. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define MINISIGN_UNTRUSTED_PREFIX "untrusted comment: "
#define MINISIGN_TRUSTED_PREFIX "trusted comment: "

struct minisign_reader {
	const char *p;
	const char *end;
};

struct minisign_line {
	const char *text;
	size_t n;
};

/* The next line, without its newline; false at the end of the text. */
_must_check_ bool minisign_read_line(struct minisign_reader *reader, struct minisign_line *ret);
/* The next line if it has the prefix, without it, is printable and at most max bytes long. */
_must_check_ bool minisign_read_comment(struct minisign_reader *reader, const char *prefix,
					size_t max, struct minisign_line *ret);
/* The next line as strict base64 (RFC 4648, padded, no stray bits) of exactly n bytes. */
_must_check_ bool minisign_read_base64(struct minisign_reader *reader, uint8_t *out, size_t n);

/* One line of UTF-8 without control characters but the tab, at most max bytes. */
bool minisign_is_comment(const char *text, size_t n, size_t max);
