/* Strings: a growing buffer, escaping for display, hex, globs, random identifiers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A growing byte string, always terminated. Zero it to start, str_done() to free. After a failed
 * allocation `failed` stays set and every append returns -ENOMEM, so one check at the end will do.
 */
struct str {
	char *data;
	size_t len;
	size_t capacity;
	bool failed;
};

int str_append_bytes(struct str *s, const void *bytes, size_t n);
int str_append(struct str *s, const char *text);
int str_appendf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Appends bytes for display: printable ASCII and well-formed UTF-8 above U+009F as they are,
 * backslash doubled, the rest as \n, \t, \r or \xNN. n may be SIZE_MAX for a terminated string.
 */
int str_append_escaped(struct str *s, const char *bytes, size_t n);

/* Appends a JSON string literal, quotes included; bytes that are not UTF-8 become U+FFFD. */
int str_append_json(struct str *s, const char *bytes, size_t n);

/* Whether n bytes are well-formed UTF-8 (RFC 3629). */
bool str_is_utf8(const char *bytes, size_t n);

/* Hands the buffer to the caller (free it), NULL if an append had failed; s is empty afterwards. */
char *str_take(struct str *s);
void str_done(struct str *s);

/* Lower-case hex of n bytes into out, which holds 2 * n + 1 chars. */
void str_hex(const uint8_t *bytes, size_t n, char *out);

/* Parses exactly 2 * n hex digits; -EINVAL otherwise. */
int str_unhex(const char *hex, uint8_t *out, size_t n);

/* Whole string as an unsigned number in base 10 (or 0x...), at most max; -EINVAL or -ERANGE. */
int str_to_u64(const char *text, uint64_t max, uint64_t *ret);

/* Shell-style match of the whole text: `*` any run, `?` one char, nothing else special. */
bool str_glob(const char *pattern, const char *text);

/* Edit distance (Damerau, adjacent swaps count one), for "did you mean". Texts up to 63 chars. */
unsigned int str_distance(const char *a, const char *b);

/* n (at most 64) characters of lower-case base 32 (a-z, 2-7; 5 random bits each) from getrandom(2),
 * terminated.
 */
int str_random_id(char *out, size_t n);
