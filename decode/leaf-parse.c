#include "decode/leaf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static void write_bytes(uint8_t *p, uint8_t *mask, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	memset(mask, 0xff, n);
}

/* Writes the low bits of value where the node's integer is. */
static void write_integer(const struct node *node, uint64_t value, uint8_t *p, uint8_t *mask)
{
	unsigned __int128 field, bits = 0, written = 0;

	if (node->bit_size == 0) {
		write_bytes(p, mask, &value, node->size);
		return;
	}
	field = (((unsigned __int128)1 << node->bit_size) - 1) << node->bit_offset;
	memcpy(&bits, p, node->size);
	memcpy(&written, mask, node->size);
	bits = (bits & ~field) | (((unsigned __int128)value << node->bit_offset) & field);
	written |= field;
	memcpy(p, &bits, node->size);
	memcpy(mask, &written, node->size);
}

/* Decimal or 0x..., with an optional minus; the absolute value must fit 128 bits. */
static bool parse_wide(const char *text, size_t n, bool *ret_negative, unsigned __int128 *ret)
{
	unsigned __int128 value = 0, most = ~(unsigned __int128)0;
	bool negative = n > 0 && text[0] == '-', hex;
	size_t i = negative ? 1 : 0;

	hex = n > i + 2 && text[i] == '0' && (text[i + 1] == 'x' || text[i + 1] == 'X');
	if (hex)
		i += 2;
	if (i == n)
		return false;
	for (; i < n; i++) {
		unsigned int base = hex ? 16 : 10, digit;

		if (text[i] >= '0' && text[i] <= '9')
			digit = (unsigned int)(text[i] - '0');
		else if (hex && (text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'f')
			digit = (unsigned int)((text[i] | 0x20) - 'a') + 10;
		else
			return false;
		if (value > (most - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret_negative = negative && value != 0;
	*ret = value;
	return true;
}

static bool parse_integer(const char *text, size_t n, bool is_signed, unsigned int bits,
			  uint64_t *ret)
{
	unsigned __int128 value, most;
	bool negative;

	if (!parse_wide(text, n, &negative, &value) || (negative && !is_signed))
		return false;
	most = ((unsigned __int128)1 << (is_signed ? bits - 1 : bits)) - (negative ? 0 : 1);
	if (value > most)
		return false;
	*ret = negative ? -(uint64_t)value : (uint64_t)value;
	return true;
}

static unsigned int node_bits(const struct node *node)
{
	return node->bit_size != 0 ? node->bit_size : node->size * 8;
}

static bool parse_number(const struct node *node, bool is_signed, const char *text, size_t n,
			 uint8_t *p, uint8_t *mask)
{
	uint64_t value;

	if (!parse_integer(text, n, is_signed, node_bits(node), &value))
		return false;
	write_integer(node, value, p, mask);
	return true;
}

static bool equals(const char *text, size_t n, const char *word)
{
	return strlen(word) == n && memcmp(text, word, n) == 0;
}

static bool parse_bool(const struct node *node, const char *text, size_t n, uint8_t *p,
		       uint8_t *mask)
{
	bool is_true = equals(text, n, "true") || equals(text, n, "1");

	if (!is_true && !equals(text, n, "false") && !equals(text, n, "0"))
		return false;
	write_integer(node, is_true, p, mask);
	return true;
}

static bool parse_enum(const struct node *node, const char *text, size_t n, uint8_t *p,
		       uint8_t *mask)
{
	const struct enumeration *e = node->enumeration;

	for (uint32_t i = 0; i < e->n; i++) {
		if (equals(text, n, e->items[i].name)) {
			write_integer(node, (uint64_t)e->items[i].value, p, mask);
			return true;
		}
	}
	return parse_number(node, node->is_signed, text, n, p, mask);
}

/* A terminated copy of a short text; false if it is longer than any that can be right. */
static bool copy_word(const char *text, size_t n, char *out, size_t room)
{
	if (n == 0 || n >= room || memchr(text, '\0', n) != NULL)
		return false;
	memcpy(out, text, n);
	out[n] = '\0';
	return true;
}

static bool parse_float(const struct node *node, const char *text, size_t n, uint8_t *p,
			uint8_t *mask)
{
	char word[64], *end;
	double value;
	float single;

	if (!copy_word(text, n, word, sizeof(word)) || word[0] == ' ')
		return false;
	errno = 0;
	value = strtod(word, &end);
	if (*end != '\0' || end == word || (errno == ERANGE && (value > 1 || value < -1)))
		return false;
	if (node->size == 4 && isfinite(value) && fabs(value) > (double)FLT_MAX)
		return false;
	single = (float)value;
	if (node->size == 4)
		write_bytes(p, mask, &single, sizeof(single));
	else
		write_bytes(p, mask, &value, sizeof(value));
	return true;
}

static bool parse_int128(const struct node *node, const char *text, size_t n, uint8_t *p,
			 uint8_t *mask)
{
	unsigned __int128 value, half = (unsigned __int128)1 << 127;
	bool negative;

	if (!parse_wide(text, n, &negative, &value) || (negative && !node->is_signed) ||
	    (node->is_signed && value > half - (negative ? 0 : 1)))
		return false;
	value = negative ? -value : value;
	write_bytes(p, mask, &value, sizeof(value));
	return true;
}

static bool parse_big_endian(const struct node *node, const char *text, size_t n, uint8_t *p,
			     uint8_t *mask)
{
	uint8_t bytes[8];
	uint64_t value;

	if (!parse_integer(text, n, false, node->size * 8, &value))
		return false;
	for (uint32_t i = node->size; i > 0; i--) {
		bytes[i - 1] = (uint8_t)value;
		value >>= 8;
	}
	write_bytes(p, mask, bytes, node->size);
	return true;
}

/* Exactly size bytes in hex, two digits each, behind an optional or required 0x. */
static bool parse_hex(const char *text, size_t n, bool prefix_required, size_t size, uint8_t *p,
		      uint8_t *mask)
{
	bool prefixed = n >= 2 && text[0] == '0' && text[1] == 'x';
	bool negative;

	if (prefixed) {
		text += 2;
		n -= 2;
	} else if (prefix_required) {
		return false;
	}
	if (n != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		char digits[] = { '0', 'x', text[2 * i], text[2 * i + 1] };
		unsigned __int128 value;

		if (!parse_wide(digits, sizeof(digits), &negative, &value))
			return false;
		p[i] = (uint8_t)value;
	}
	memset(mask, 0xff, size);
	return true;
}

static bool parse_text_bytes(const struct node *node, const char *text, size_t n, uint8_t *p,
			     uint8_t *mask)
{
	if (parse_hex(text, n, true, node->size, p, mask))
		return true;
	if (n > node->size || memchr(text, '\0', n) != NULL)
		return false;
	memset(p, 0, node->size);
	memcpy(p, text, n);
	memset(mask, 0xff, node->size);
	return true;
}

static bool parse_address(const struct node *node, const char *text, size_t n, uint8_t *p,
			  uint8_t *mask)
{
	char word[INET6_ADDRSTRLEN];
	uint8_t bytes[16] = { 0 };

	if (!copy_word(text, n, word, sizeof(word)))
		return false;
	if (node->kind != NODE_IPV6 && inet_pton(AF_INET, word, bytes) == 1) {
		write_bytes(p, mask, bytes, node->size);
		return true;
	}
	if (node->kind == NODE_IPV4 || inet_pton(AF_INET6, word, bytes) != 1)
		return false;
	write_bytes(p, mask, bytes, sizeof(bytes));
	return true;
}

static bool parse_cidr(const struct node *node, const char *text, size_t n, uint8_t *p,
		       uint8_t *mask)
{
	const char *slash = memchr(text, '/', n);
	size_t n_address = slash != NULL ? (size_t)(slash - text) : n;
	uint8_t bytes[16] = { [10] = 0xff, [11] = 0xff };
	uint64_t most = 128, shift = 0, bits;
	char word[INET6_ADDRSTRLEN];
	uint32_t prefix;

	if (!copy_word(text, n_address, word, sizeof(word)))
		return false;
	if (inet_pton(AF_INET, word, node->n == 4 ? bytes : bytes + 12) == 1) {
		most = 32;
		shift = node->n == 4 ? 0 : 96;
	} else if (node->n == 4 || inet_pton(AF_INET6, word, bytes) != 1) {
		return false;
	}
	bits = most;
	if (slash != NULL &&
	    (!parse_integer(slash + 1, n - n_address - 1, false, 32, &bits) || bits > most))
		return false;
	prefix = (uint32_t)(bits + shift) + 8 * (node->data_offset - 4);
	write_bytes(p - node->back, mask - node->back, &prefix, sizeof(prefix));
	write_bytes(p - node->back + node->data_offset, mask - node->back + node->data_offset,
		    bytes, node->n);
	return true;
}

static bool parse_mac(const char *text, size_t n, uint8_t *p, uint8_t *mask)
{
	char digits[12];

	if (n != 17)
		return parse_hex(text, n, true, 6, p, mask);
	for (size_t i = 0; i < 6; i++) {
		if (i < 5 && text[3 * i + 2] != ':' && text[3 * i + 2] != '-')
			return false;
		memcpy(digits + 2 * i, text + 3 * i, 2);
	}
	return parse_hex(digits, sizeof(digits), false, 6, p, mask);
}

static bool parse_protocol(const struct node *node, const char *text, size_t n, uint8_t *p,
			   uint8_t *mask)
{
	int number = ip_protocol_number(text, n);

	if (number < 0)
		return parse_number(node, false, text, n, p, mask);
	if (node_bits(node) < 8 && number >> node_bits(node) != 0)
		return false;
	write_integer(node, (uint64_t)number, p, mask);
	return true;
}

/* "12.000000034s", "12s", "12.5s", or plain nanoseconds. */
static bool parse_duration(const struct node *node, const char *text, size_t n, uint8_t *p,
			   uint8_t *mask)
{
	const char *point;
	uint64_t seconds, fraction = 0;
	size_t n_seconds;

	if (n < 2 || text[n - 1] != 's')
		return parse_number(node, false, text, n, p, mask);
	n--;
	point = memchr(text, '.', n);
	n_seconds = point != NULL ? (size_t)(point - text) : n;
	if (!parse_integer(text, n_seconds, false, 64, &seconds))
		return false;
	if (point != NULL) {
		size_t digits = n - n_seconds - 1;

		if (digits > 9 || memchr(point, 'x', digits + 1) != NULL ||
		    !parse_integer(point + 1, digits, false, 64, &fraction))
			return false;
		for (; digits < 9; digits++)
			fraction *= 10;
	}
	if (seconds > (UINT64_MAX - fraction) / UINT64_C(1000000000))
		return false;
	write_integer(node, seconds * UINT64_C(1000000000) + fraction, p, mask);
	return true;
}

bool leaf_parse(const struct node *node, const char *text, size_t n, uint8_t *p, uint8_t *mask)
{
	switch (node->kind) {
	case NODE_UNSIGNED:
	case NODE_POINTER:
	case NODE_HEX:
		return parse_number(node, false, text, n, p, mask);
	case NODE_SIGNED:
		return parse_number(node, true, text, n, p, mask);
	case NODE_BOOL:
		return parse_bool(node, text, n, p, mask);
	case NODE_ENUM:
		return parse_enum(node, text, n, p, mask);
	case NODE_FLOAT:
		return parse_float(node, text, n, p, mask);
	case NODE_INT128:
		return parse_int128(node, text, n, p, mask);
	case NODE_TEXT:
		return parse_text_bytes(node, text, n, p, mask);
	case NODE_BIG_ENDIAN:
		return parse_big_endian(node, text, n, p, mask);
	case NODE_IPV4:
	case NODE_IPV6:
	case NODE_IP:
		return parse_address(node, text, n, p, mask) ||
		       parse_hex(text, n, true, node->size, p, mask);
	case NODE_CIDR:
		return parse_cidr(node, text, n, p, mask) ||
		       (node->back == 0 && parse_hex(text, n, true, node->size, p, mask));
	case NODE_MAC:
		return parse_mac(text, n, p, mask);
	case NODE_IP_PROTOCOL:
		return parse_protocol(node, text, n, p, mask);
	case NODE_DURATION:
		return parse_duration(node, text, n, p, mask);
	case NODE_BYTES:
		return parse_hex(text, n, false, node->size, p, mask);
	case NODE_KERNEL:
		memset(mask, 0xff, node->size);
		return n == 4 && memcmp(text, "null", 4) == 0;
	case NODE_OPAQUE:
	case NODE_STRUCT:
	case NODE_ARRAY:
	case NODE_TEXT_LIST:
		return parse_hex(text, n, true, node->size, p, mask);
	}
	return false;
}

static void describe_range(const struct node *node, struct str *out)
{
	unsigned int bits = node_bits(node);
	uint64_t most = ~UINT64_C(0) >> (64 - bits);

	if (node->kind == NODE_SIGNED)
		(void)str_appendf(out, "a number from %" PRId64 " to %" PRId64,
				  -(int64_t)(most >> 1) - 1, (int64_t)(most >> 1));
	else
		(void)str_appendf(out, "a number from 0 to %" PRIu64, most);
}

#define DESCRIBED_NAMES 8

static void describe_enum(const struct node *node, struct str *out)
{
	const struct enumeration *e = node->enumeration;

	for (uint32_t i = 0; i < e->n && i < DESCRIBED_NAMES; i++) {
		(void)str_append(out, i > 0 ? "|" : "");
		(void)str_append_escaped(out, e->items[i].name, strnlen(e->items[i].name, 64));
	}
	if (e->n > DESCRIBED_NAMES)
		(void)str_append(out, "|...");
	if (e->n == 0)
		(void)str_append(out, "a number");
}

void leaf_describe(const struct node *node, struct str *out)
{
	static const char *const texts[] = {
		[NODE_BOOL] = "true or false",
		[NODE_FLOAT] = "a floating-point number",
		[NODE_INT128] = "a 128-bit number",
		[NODE_POINTER] = "an address as 0x...",
		[NODE_KERNEL] = "null",
		[NODE_HEX] = "a number, as 0x... or decimal",
		[NODE_IPV4] = "an IPv4 address",
		[NODE_IPV6] = "an IPv6 address",
		[NODE_IP] = "an IP address",
		[NODE_MAC] = "a MAC address",
		[NODE_IP_PROTOCOL] = "an IP protocol by name or number",
		[NODE_DURATION] = "seconds since boot as 1.5s, or nanoseconds",
	};

	if (node->kind == NODE_UNSIGNED || node->kind == NODE_SIGNED ||
	    node->kind == NODE_BIG_ENDIAN)
		describe_range(node, out);
	else if (node->kind == NODE_ENUM)
		describe_enum(node, out);
	else if (node->kind == NODE_TEXT)
		(void)str_appendf(out, "a text of at most %u bytes", node->size);
	else if (node->kind == NODE_TEXT_LIST)
		(void)str_appendf(out, "a list of texts of at most %u bytes in all", node->size);
	else if (node->kind == NODE_CIDR)
		(void)str_append(out, node->n == 4 ? "an IPv4 network as 10.0.0.0/8"
						   : "a network as 10.0.0.0/8 or 2001:db8::/32");
	else if ((size_t)node->kind < ARRAY_SIZE(texts) && texts[node->kind] != NULL)
		(void)str_append(out, texts[node->kind]);
	else
		(void)str_appendf(out, "%u bytes as %u hex digits", node->size, 2 * node->size);
}
