#define _GNU_SOURCE
#include "bundle/hook-part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

#define PID_LIMIT 4194304 /* PID_MAX_LIMIT of include/linux/threads.h on 64-bit kernels */

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a hook");
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Whether a byte stands for itself in canonical text. */
static bool is_bare(char c, enum hook_form form)
{
	if ((form == HOOK_FORM_GLOBS && c == '*') || (form == HOOK_FORM_PROBE && c == ':'))
		return true;
	return c > ' ' && c < 0x7f && strchr(":,%=*", c) == NULL;
}

static void escape(struct str *s, char c, enum hook_form form)
{
	if (is_bare(c, form))
		(void)str_append_bytes(s, &c, 1);
	else
		(void)str_appendf(s, "%%%02X", (unsigned char)c);
}

/* Reads one character, escaped or bare; returns how many bytes of text it took or an error. */
static int read_char(const char *text, size_t n, char *ret, struct error *err)
{
	int high, low;

	if (text[0] != '%') {
		if ((unsigned char)text[0] < ' ' || text[0] == 0x7f)
			return error_raise(err, ERROR_INVALID_HOOK,
					   "a control character must be written as %%%02X",
					   (unsigned char)text[0]);
		*ret = text[0];
		return 1;
	}
	high = n >= 3 ? hex_digit(text[1]) : -1;
	low = high >= 0 ? hex_digit(text[2]) : -1;
	if (low < 0)
		return error_raise(
			err, ERROR_INVALID_HOOK,
			"'%%' must be followed by two hexadecimal digits; write %%25 for "
			"the character itself");
	*ret = (char)(high << 4 | low);
	if (*ret == '\0')
		return error_raise(err, ERROR_INVALID_HOOK, "%%00 cannot be part of a hook");
	return 3;
}

int hook_part_read(struct hook_part *part, const char *text, size_t n, bool is_pattern,
		   enum hook_form form, struct error *err)
{
	struct str plain = { 0 }, escaped = { 0 };
	bool has_wildcard = false;
	int r;

	for (size_t i = 0; i < n; i += (size_t)r) {
		char c = '\0';

		r = read_char(text + i, n - i, &c, err);
		if (r >= 0 && text[i] == '*' && !is_pattern && form != HOOK_FORM_GLOBS)
			r = error_raise(err, ERROR_INVALID_HOOK,
					"'*' is for the patterns of a manifest; write %%2A for the "
					"character itself");
		if (r < 0) {
			str_done(&plain);
			str_done(&escaped);
			return r;
		}
		if (text[i] == '*' && is_pattern) {
			has_wildcard = true;
			(void)str_append(&escaped, "*");
		} else {
			(void)str_append_bytes(&plain, &c, 1);
			escape(&escaped, c, form);
		}
	}
	part->escaped = str_take(&escaped);
	part->plain = has_wildcard ? NULL : str_take(&plain);
	str_done(&plain);
	return part->escaped == NULL || (part->plain == NULL && !has_wildcard) ? out_of_memory(err)
									       : 0;
}

int hook_part_from_bytes(struct hook_part *part, const uint8_t *bytes, size_t n, struct error *err)
{
	if (n > HOOK_TARGET_MAX || (n > 0 && memchr(bytes, '\0', n) != NULL))
		return error_raise(err, ERROR_INVALID_HOOK,
				   "a part of a hook holds no NUL and at most %d bytes",
				   HOOK_TARGET_MAX);
	part->plain = calloc(1, n + 1);
	if (part->plain == NULL)
		return out_of_memory(err);
	if (n > 0)
		memcpy(part->plain, bytes, n);
	return 0;
}

static int check_interface(const char *text, const char *what, struct error *err)
{
	size_t n = strlen(text);

	if (n == 0 || n > 15 || strpbrk(text, "/: \t\n\v\f\r") != NULL || strcmp(text, ".") == 0 ||
	    strcmp(text, "..") == 0)
		return error_raise(
			err, ERROR_INVALID_HOOK,
			"%s must be the name of a network interface, 1 to 15 bytes without "
			"'/', ':' and white space",
			what);
	return 0;
}

static int check_path(const char *text, const char *what, struct error *err)
{
	const char *p = text;

	if (text[0] != '/' || strlen(text) > HOOK_TARGET_MAX)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s must be an absolute path of at most %d bytes", what,
				   HOOK_TARGET_MAX);
	while (*p == '/' && p[1] != '\0') {
		size_t n = strcspn(++p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return error_raise(err, ERROR_INVALID_HOOK,
					   "%s must not have an empty, '.' or '..' component",
					   what);
		p += n;
	}
	if (*p == '/' && p != text)
		return error_raise(err, ERROR_INVALID_HOOK, "%s must not end in '/'", what);
	return 0;
}

static int check_event(const char *text, const char *what, struct error *err)
{
	size_t n = strlen(text);

	if (n == 0 || n > 127 ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != n)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s must be 1 to 127 letters, digits and '_'", what);
	return 0;
}

static int check_map(const char *text, const char *what, struct error *err)
{
	const size_t n = strlen(text);

	if (n == 0 || n > 127 ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") != n)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s must be the name of a map of the instance", what);
	return 0;
}

/* Of the probe's two names neither is empty, and the first has no ':'. */
static int check_probe(const char *text, const char *what, struct error *err)
{
	const char *colon = strchr(text, ':');

	if (colon == NULL || colon == text || colon[1] == '\0' || strlen(text) > HOOK_SYMBOL_MAX)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s must be PROVIDER:NAME, at most %d bytes", what,
				   HOOK_SYMBOL_MAX);
	return 0;
}

static int check_globs(const char *text, const char *what, struct error *err)
{
	size_t n;

	for (const char *p = text;; p += n + 1) {
		n = strcspn(p, "|");
		if (n == 0 || n > HOOK_SYMBOL_MAX)
			return error_raise(err, ERROR_INVALID_HOOK,
					   "%s must be names or globs of functions, joined by '|'",
					   what);
		if (p[n] == '\0')
			return 0;
	}
}

static int check_number(const char *text, const char *what, struct error *err)
{
	uint64_t value;

	if (strspn(text, "0123456789") != strlen(text) || (text[0] == '0' && text[1] != '\0') ||
	    str_to_u64(text, UINT32_MAX, &value) < 0)
		return error_raise(err, ERROR_INVALID_HOOK, "%s must be a number, 0 to %u", what,
				   UINT32_MAX);
	return 0;
}

static int settle_symbol(struct hook_part *part, const char *what, struct error *err)
{
	uint64_t offset = 0;
	char *plus, *text = NULL;
	int n;

	if (part->plain[0] == '\0' || part->plain[0] == '+' ||
	    strlen(part->plain) > HOOK_SYMBOL_MAX)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s must be a symbol, or symbol+OFFSET, of 1 to %d bytes", what,
				   HOOK_SYMBOL_MAX);
	plus = strchr(part->plain, '+');
	if (plus == NULL)
		return 0;
	if (str_to_u64(plus + 1, INT64_MAX, &offset) < 0)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "the OFFSET of symbol+OFFSET must be a number, as 16 or 0x10");
	*plus = '\0';
	if (offset == 0)
		return 0;
	n = asprintf(&text, "%s+0x%llx", part->plain, (unsigned long long)offset);
	if (n < 0)
		return out_of_memory(err);
	free(part->plain);
	part->plain = text;
	if (n > HOOK_SYMBOL_MAX)
		return error_raise(err, ERROR_INVALID_HOOK, "%s is longer than %d bytes", what,
				   HOOK_SYMBOL_MAX);
	return 0;
}

static int check_pid(const char *text, const char *what, struct error *err)
{
	uint64_t pid;

	if (text[0] < '1' || text[0] > '9' || str_to_u64(text, PID_LIMIT, &pid) < 0)
		return error_raise(err, ERROR_INVALID_HOOK, "%s must be a process id, 1 to %d",
				   what, PID_LIMIT);
	return 0;
}

/* In canonical spelling: decimal, without leading zeros. */
static int settle_number(struct hook_part *part, int64_t min, int64_t max, const char *what,
			 struct error *err)
{
	const bool is_negative = min < 0 && part->plain[0] == '-';
	const char *digits = part->plain + is_negative;
	uint64_t number = 0;
	char *text = NULL;

	if (digits[0] < '0' || digits[0] > '9' ||
	    str_to_u64(digits, (uint64_t)(is_negative ? -min : max), &number) < 0)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s must be a number from %lld to %lld; lower runs first", what,
				   (long long)min, (long long)max);
	if (asprintf(&text, "%s%llu", is_negative && number != 0 ? "-" : "",
		     (unsigned long long)number) < 0)
		return out_of_memory(err);
	free(part->plain);
	part->plain = text;
	return 0;
}

static int check_netns(const char *text, const char *what, struct error *err)
{
	if (text[0] == '/')
		return check_path(text, what, err);
	if (check_pid(text, what, NULL) == 0)
		return 0;
	return error_raise(err, ERROR_INVALID_HOOK,
			   "%s must be a network namespace: a path, as /run/netns/blue, or the "
			   "id of a process in it",
			   what);
}

/* Whether a word of "one|two" equals the text, or matches it if that is a pattern. */
static int check_words(const struct hook_part *part, const char *words, const char *what,
		       struct error *err)
{
	char word[32];

	for (const char *p = words; *p != '\0';) {
		size_t n = strcspn(p, "|");
		struct hook_part candidate = { .plain = word };

		(void)snprintf(word, sizeof(word), "%.*s", (int)n, p);
		if (part->plain != NULL ? strcmp(part->plain, word) == 0
					: hook_part_matches(part, &candidate))
			return 0;
		p += n + (p[n] == '|');
	}
	return error_raise(err, ERROR_INVALID_HOOK, "%s must be one of %s", what, words);
}

static int settle_form(struct hook_part *part, enum hook_form form, const char *words,
		       const char *what, struct error *err)
{
	switch (form) {
	case HOOK_FORM_INTERFACE:
		return check_interface(part->plain, what, err);
	case HOOK_FORM_PATH:
		return check_path(part->plain, what, err);
	case HOOK_FORM_EVENT:
		return check_event(part->plain, what, err);
	case HOOK_FORM_SYMBOL:
		return settle_symbol(part, what, err);
	case HOOK_FORM_PID:
		return check_pid(part->plain, what, err);
	case HOOK_FORM_WORD:
		return check_words(part, words, what, err);
	case HOOK_FORM_PRIORITY:
		return settle_number(part, 0, UINT16_MAX, what, err);
	case HOOK_FORM_NUMBER:
		return check_number(part->plain, what, err);
	case HOOK_FORM_MAP:
		return check_map(part->plain, what, err);
	case HOOK_FORM_PROBE:
		return check_probe(part->plain, what, err);
	case HOOK_FORM_GLOBS:
		return check_globs(part->plain, what, err);
	case HOOK_FORM_INTEGER:
		return settle_number(part, INT32_MIN, INT32_MAX, what, err);
	case HOOK_FORM_OWN_NETNS:
		if (strcmp(part->plain, "self") == 0)
			return 0;
		return check_netns(part->plain, what, err);
	case HOOK_FORM_NETNS:
		return check_netns(part->plain, what, err);
	case HOOK_FORM_NONE:
		break;
	}
	return error_raise(err, ERROR_INTERNAL, "%s has no form", what);
}

int hook_part_settle(struct hook_part *part, enum hook_form form, const char *words,
		     const char *what, struct error *err)
{
	struct str escaped = { 0 };
	int r;

	if (part->plain == NULL) {
		if (form == HOOK_FORM_WORD)
			return check_words(part, words, what, err);
		if (form == HOOK_FORM_PATH && part->escaped[0] != '/' && part->escaped[0] != '*')
			return check_path("", what, err);
		return 0;
	}
	r = settle_form(part, form, words, what, err);
	if (r < 0)
		return r;
	for (const char *p = part->plain; *p != '\0'; p++)
		escape(&escaped, *p, form);
	free(part->escaped);
	part->escaped = str_take(&escaped);
	return part->escaped == NULL ? out_of_memory(err) : 0;
}

void hook_part_done(struct hook_part *part)
{
	free(part->plain);
	free(part->escaped);
	*part = (struct hook_part){ 0 };
}

/* The byte that canonical escaped text stands for; *ret_n is how long it is written. */
static char token(const char *escaped, size_t *ret_n)
{
	if (escaped[0] != '%') {
		*ret_n = 1;
		return escaped[0];
	}
	*ret_n = 3;
	return (char)(hex_digit(escaped[1]) << 4 | hex_digit(escaped[2]));
}

bool hook_part_matches(const struct hook_part *pattern, const struct hook_part *part)
{
	const char *p = pattern->escaped, *text = part->plain, *star = NULL, *resume = NULL;
	size_t n;

	/* Greedy with one point of return: the last star is the only one that need be retried. */
	while (*text != '\0') {
		if (*p == '*') {
			star = ++p;
			resume = text;
		} else if (*p != '\0' && token(p, &n) == *text) {
			p += n;
			text++;
		} else if (star != NULL) {
			p = star;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return *p == '\0';
}
