#include "decode/leaf.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* "00" to "99" */
static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
				  "25262728293031323334353637383940414243444546474849"
				  "50515253545556575859606162636465666768697071727374"
				  "75767778798081828384858687888990919293949596979899";
static const char hex_digits[] = "0123456789abcdef";

uint64_t leaf_integer(const struct node *node, const uint8_t *p)
{
	bool is_signed = node->kind == NODE_SIGNED || (node->kind == NODE_ENUM && node->is_signed);
	unsigned int bits = node->bit_size != 0 ? node->bit_size : node->size * 8;
	unsigned __int128 wide = 0;
	uint64_t value = 0;

	if (node->bit_size == 0) {
		memcpy(&value, p, node->size);
	} else {
		memcpy(&wide, p, node->size);
		value = (uint64_t)(wide >> node->bit_offset);
	}
	if (bits < 64) {
		value &= (UINT64_C(1) << bits) - 1;
		if (is_signed && (value >> (bits - 1)) != 0)
			value |= ~UINT64_C(0) << bits;
	}
	return value;
}

uint64_t leaf_number(const struct node *node, const uint8_t *p)
{
	uint64_t value = 0;

	if (node->kind != NODE_BIG_ENDIAN)
		return leaf_integer(node, p);
	for (uint32_t i = 0; i < node->size; i++)
		value = value << 8 | p[i];
	return value;
}

bool leaf_equal(const struct node *node, const uint8_t *a, const uint8_t *b)
{
	if (node->bit_size != 0)
		return leaf_integer(node, a) == leaf_integer(node, b);
	return memcmp(a, b, node->size) == 0;
}

bool leaf_is_zero(const struct node *node, const uint8_t *p)
{
	if (node->bit_size != 0)
		return leaf_integer(node, p) == 0;
	for (uint32_t i = 0; i < node->size; i++) {
		if (p[i] != 0)
			return false;
	}
	return true;
}

static size_t write_unsigned(char *out, uint64_t value)
{
	char reversed[20];
	size_t at = sizeof(reversed);

	while (value >= 100) {
		at -= 2;
		memcpy(reversed + at, digit_pairs + 2 * (value % 100), 2);
		value /= 100;
	}
	if (value >= 10) {
		at -= 2;
		memcpy(reversed + at, digit_pairs + 2 * value, 2);
	} else {
		reversed[--at] = (char)('0' + value);
	}
	memcpy(out, reversed + at, sizeof(reversed) - at);
	return sizeof(reversed) - at;
}

/* What a double holds exactly; most JSON parsers, jq among them, read a number as one. */
#define JSON_NUMBER_MAX ((UINT64_C(1) << 53) - 1)

/* A word of letters, digits and punctuation that needs no escape. */
static void print_word(struct str *out, const char *word, size_t n, enum leaf_style style)
{
	if (style == LEAF_JSON)
		put_char(out, '"');
	put(out, word, n);
	if (style == LEAF_JSON)
		put_char(out, '"');
}

static void print_number(struct str *out, uint64_t magnitude, bool negative, enum leaf_style style)
{
	char digits[21] = "-";
	size_t n = negative + write_unsigned(digits + negative, magnitude);

	if (style == LEAF_JSON && magnitude > JSON_NUMBER_MAX)
		print_word(out, digits, n, style);
	else
		put(out, digits, n);
}

void leaf_print_unsigned(struct str *out, uint64_t value, enum leaf_style style)
{
	print_number(out, value, false, style);
}

void leaf_print_signed(struct str *out, int64_t value, enum leaf_style style)
{
	print_number(out, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0, style);
}

void leaf_print_hex(struct str *out, const uint8_t *bytes, size_t n, const char *prefix,
		    enum leaf_style style)
{
	char pair[2];

	if (style == LEAF_JSON)
		put_char(out, '"');
	(void)str_append(out, prefix);
	for (size_t i = 0; i < n; i++) {
		pair[0] = hex_digits[bytes[i] >> 4];
		pair[1] = hex_digits[bytes[i] & 15];
		put(out, pair, 2);
	}
	if (style == LEAF_JSON)
		put_char(out, '"');
}

void leaf_print_double(struct str *out, double value, bool single, enum leaf_style style)
{
	int precision = single ? 6 : 15, last = single ? 9 : 17, n;
	char text[40];

	if (isnan(value) || isinf(value)) {
		const char *name = isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity";

		print_word(out, name, strlen(name), style);
		return;
	}
	do {
		n = snprintf(text, sizeof(text), "%.*g", precision, value);
	} while (precision++ < last &&
		 (single ? strtof(text, NULL) != (float)value : strtod(text, NULL) != value));
	put(out, text, (size_t)n);
}

void leaf_print_duration(struct str *out, uint64_t ns, enum leaf_style style)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%" PRIu64 ".%09" PRIu64 "s",
			 ns / UINT64_C(1000000000), ns % UINT64_C(1000000000));

	print_word(out, text, (size_t)n, style);
}

static void print_float(struct str *out, const struct node *node, const uint8_t *p,
			enum leaf_style style)
{
	double value;
	float single;

	if (node->size == 4) {
		memcpy(&single, p, sizeof(single));
		value = (double)single;
	} else {
		memcpy(&value, p, sizeof(value));
	}
	leaf_print_double(out, value, node->size == 4, style);
}

static void print_int128(struct str *out, const struct node *node, const uint8_t *p,
			 enum leaf_style style)
{
	unsigned __int128 value;
	char text[40];
	size_t at = sizeof(text);
	bool negative;

	memcpy(&value, p, sizeof(value));
	negative = node->is_signed && (p[15] & 0x80) != 0;
	if (negative)
		value = -value;
	do {
		text[--at] = (char)('0' + (int)(value % 10));
		value /= 10;
	} while (value != 0);
	if (negative)
		text[--at] = '-';
	print_word(out, text + at, sizeof(text) - at, style);
}

static size_t write_ipv4(char out[static 16], const uint8_t p[static 4])
{
	size_t n = 0;

	for (int i = 0; i < 4; i++) {
		n += write_unsigned(out + n, p[i]);
		if (i < 3)
			out[n++] = '.';
	}
	return n;
}

static size_t write_ipv6(char out[static INET6_ADDRSTRLEN], const uint8_t p[static 16])
{
	(void)inet_ntop(AF_INET6, p, out, INET6_ADDRSTRLEN);
	return strlen(out);
}

static void print_address(struct str *out, const struct node *node, const uint8_t *p,
			  enum leaf_style style)
{
	static const uint8_t zero[12];
	bool is_ipv4 = node->kind == NODE_IPV4 ||
		       (node->kind == NODE_IP && memcmp(p + 4, zero, sizeof(zero)) == 0);
	char text[INET6_ADDRSTRLEN + 20];

	print_word(out, text, is_ipv4 ? write_ipv4(text, p) : write_ipv6(text, p), style);
}

static void print_mac(struct str *out, const uint8_t *p, enum leaf_style style)
{
	char text[17];

	for (size_t i = 0; i < 6; i++) {
		text[3 * i] = hex_digits[p[i] >> 4];
		text[3 * i + 1] = hex_digits[p[i] & 15];
		if (i < 5)
			text[3 * i + 2] = ':';
	}
	print_word(out, text, sizeof(text), style);
}

/* 16-byte keys hold IPv4 networks as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), shown as what they are. */
static void print_cidr(struct str *out, const struct node *node, const uint8_t *p,
		       enum leaf_style style)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const uint8_t *address = p - node->back + node->data_offset;
	char text[INET6_ADDRSTRLEN + 20];
	int64_t bits;
	uint32_t prefix;
	size_t n;

	memcpy(&prefix, p - node->back, sizeof(prefix));
	bits = (int64_t)prefix - 8 * ((int64_t)node->data_offset - 4);
	if (node->n == 4) {
		n = write_ipv4(text, address);
	} else if (bits >= 96 && memcmp(address, mapped, sizeof(mapped)) == 0) {
		n = write_ipv4(text, address + 12);
		bits -= 96;
	} else {
		n = write_ipv6(text, address);
	}
	n += (size_t)snprintf(text + n, 16, "/%" PRId64, bits);
	print_word(out, text, n, style);
}

static bool is_plain(char c, enum leaf_style style)
{
	if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
		return false;
	return style != LEAF_NESTED || strchr(" ,=[]{}", c) == NULL;
}

/* A string: plain ones are copied, the others become JSON strings in every style. */
static void print_string(struct str *out, const char *text, size_t n, enum leaf_style style)
{
	bool plain = style == LEAF_JSON || (n > 0 && text[0] != ' ' && text[n - 1] != ' ');

	for (size_t i = 0; i < n && plain; i++)
		plain = is_plain(text[i], style);
	if (plain)
		print_word(out, text, n, style);
	else
		(void)str_append_json(out, text, n);
}

static void print_text(struct str *out, const struct node *node, const uint8_t *p, size_t n,
		       enum leaf_style style)
{
	const char *text = (const char *)p;
	size_t len = strnlen(text, n);

	if (node->exact) {
		bool tells_all = str_is_utf8(text, len);

		for (size_t i = len; i < n && tells_all; i++)
			tells_all = p[i] == 0;
		if (!tells_all) {
			leaf_print_hex(out, p, n, "0x", style);
			return;
		}
	}
	print_string(out, text, len, style);
}

static void print_text_list(struct str *out, const struct node *node, const uint8_t *p, size_t n,
			    enum leaf_style style)
{
	const char *text = (const char *)p;
	size_t len;

	while (!node->to_end && n > 0 && p[n - 1] == 0 && (n == 1 || p[n - 2] == 0))
		n--;
	put_char(out, '[');
	for (size_t at = 0; at < n; at += len + 1) {
		len = strnlen(text + at, n - at);
		if (at > 0)
			put_char(out, ',');
		print_string(out, text + at, len, style == LEAF_JSON ? LEAF_JSON : LEAF_NESTED);
	}
	put_char(out, ']');
}

static void print_enum(struct str *out, const struct node *node, const uint8_t *p,
		       enum leaf_style style)
{
	const struct enumeration *e = node->enumeration;
	int64_t value = (int64_t)leaf_integer(node, p);
	uint32_t low = 0, high = e->n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (e->items[middle].value < value)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < e->n && e->items[low].value == value)
		print_string(out, e->items[low].name, strlen(e->items[low].name), style);
	else if (node->is_signed)
		leaf_print_signed(out, value, style);
	else
		leaf_print_unsigned(out, (uint64_t)value, style);
}

static void print_protocol(struct str *out, const struct node *node, const uint8_t *p,
			   enum leaf_style style)
{
	uint64_t number = leaf_integer(node, p);
	const char *name = ip_protocol_name(number);

	if (name != NULL)
		print_word(out, name, strlen(name), style);
	else
		leaf_print_unsigned(out, number, style);
}

static uint64_t big_endian(const struct node *node, const uint8_t *p)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < node->size; i++)
		value = value << 8 | p[i];
	return value;
}

static void print_hex_number(struct str *out, uint64_t value, enum leaf_style style)
{
	char text[24];

	print_word(out, text, (size_t)snprintf(text, sizeof(text), "0x%" PRIx64, value), style);
}

void leaf_print(struct str *out, const struct node *node, const uint8_t *p, size_t n,
		enum leaf_style style)
{
	switch (node->kind) {
	case NODE_UNSIGNED:
		leaf_print_unsigned(out, leaf_integer(node, p), style);
		break;
	case NODE_SIGNED:
		leaf_print_signed(out, (int64_t)leaf_integer(node, p), style);
		break;
	case NODE_BOOL:
		put(out, leaf_integer(node, p) != 0 ? "true" : "false",
		    leaf_integer(node, p) != 0 ? 4 : 5);
		break;
	case NODE_ENUM:
		print_enum(out, node, p, style);
		break;
	case NODE_FLOAT:
		print_float(out, node, p, style);
		break;
	case NODE_INT128:
		print_int128(out, node, p, style);
		break;
	case NODE_POINTER:
	case NODE_HEX:
		print_hex_number(out, leaf_integer(node, p), style);
		break;
	case NODE_TEXT:
		print_text(out, node, p, n, style);
		break;
	case NODE_TEXT_LIST:
		print_text_list(out, node, p, n, style);
		break;
	case NODE_BIG_ENDIAN:
		leaf_print_unsigned(out, big_endian(node, p), style);
		break;
	case NODE_IPV4:
	case NODE_IPV6:
	case NODE_IP:
		print_address(out, node, p, style);
		break;
	case NODE_CIDR:
		print_cidr(out, node, p, style);
		break;
	case NODE_MAC:
		print_mac(out, p, style);
		break;
	case NODE_BYTES:
		leaf_print_hex(out, p, n, "", style);
		break;
	case NODE_IP_PROTOCOL:
		print_protocol(out, node, p, style);
		break;
	case NODE_DURATION:
		leaf_print_duration(out, leaf_integer(node, p), style);
		break;
	case NODE_KERNEL:
		(void)str_append(out, "null");
		return;
	case NODE_OPAQUE:
	case NODE_STRUCT:
	case NODE_ARRAY:
		leaf_print_hex(out, p, n, "0x", style);
		break;
	}
}
