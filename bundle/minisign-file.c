#include "bundle/minisign-file.h"

#include <string.h>

#include <sodium.h>

#include "base/str.h"

bool minisign_read_line(struct minisign_reader *reader, struct minisign_line *ret)
{
	size_t left = (size_t)(reader->end - reader->p);
	const char *newline;

	if (left == 0)
		return false;
	newline = memchr(reader->p, '\n', left);
	ret->text = reader->p;
	ret->n = newline != NULL ? (size_t)(newline - reader->p) : left;
	reader->p += ret->n + (newline != NULL);
	return true;
}

bool minisign_is_comment(const char *text, size_t n, size_t max)
{
	struct str copy = { 0 }, shown = { 0 };
	bool is_printable;

	if (n > max)
		return false;
	/* Escaping leaves printable text as it is, but for the backslash and the tab. */
	(void)str_append_bytes(&copy, text, n);
	for (size_t i = 0; i < copy.len; i++) {
		if (copy.data[i] == '\\' || copy.data[i] == '\t')
			copy.data[i] = ' ';
	}
	(void)str_append_escaped(&shown, copy.len > 0 ? copy.data : "", copy.len);
	is_printable = !copy.failed && !shown.failed && shown.len == n;
	str_done(&copy);
	str_done(&shown);
	return is_printable;
}

bool minisign_read_comment(struct minisign_reader *reader, const char *prefix, size_t max,
			   struct minisign_line *ret)
{
	size_t n_prefix = strlen(prefix);
	struct minisign_line line;

	if (!minisign_read_line(reader, &line) || line.n < n_prefix ||
	    memcmp(line.text, prefix, n_prefix) != 0)
		return false;
	line.text += n_prefix;
	line.n -= n_prefix;
	*ret = line;
	return minisign_is_comment(line.text, line.n, max);
}

/* libsodium 1.0.18 takes some bytes above 0x7f for '/'. */
static bool is_base64(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		      c == '+' || c == '/' || c == '='))
			return false;
	}
	return true;
}

bool minisign_read_base64(struct minisign_reader *reader, uint8_t *out, size_t n)
{
	struct minisign_line line;
	size_t n_read = 0;

	return minisign_read_line(reader, &line) && line.n == (n + 2) / 3 * 4 &&
	       is_base64(line.text, line.n) &&
	       sodium_base642bin(out, n, line.text, line.n, NULL, &n_read, NULL,
				 sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       n_read == n;
}
