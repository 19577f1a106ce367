/* Finds a function in an ELF file and the place in that file where a uprobe on it goes. */
#pragma once

#include <stddef.h>

#include "daemon/resolver/protocol.h"

struct resolver_symbol {
	char name[RESOLVER_SYMBOL_MAX];
	const char *version; /* into name's array; NULL: the default one */
	uint64_t offset;
	int only_default; /* "@@": the version must be the default one */
};

/* Takes SYMBOL[@VERSION][+OFFSET] apart. RESOLVER_OK or RESOLVER_BAD_SYMBOL. */
enum resolver_status resolver_parse(const char *text, struct resolver_symbol *ret);

struct resolver_places {
	size_t n;
	struct resolver_place places[RESOLVER_PLACES_MAX];
};

/* Finds the places of a USDT probe, "PROVIDER:NAME". As resolver_resolve(). */
void resolver_resolve_usdt(int fd, const char *probe, struct resolver_result *ret,
			   struct resolver_places *ret_places);

/* Fills the whole of ret, whatever happens. Reads fd by pread only and keeps it open. */
void resolver_resolve(int fd, const char *symbol, struct resolver_result *ret);
