/* The HTTP side: GET /metrics on one address, through libmicrohttpd. */
#pragma once

#include "base/cleanup.h"

struct cache;
struct error;
struct http;

/*
 * Listens at "ADDRESS:PORT" or "[ADDRESS]:PORT" (numeric; port 0: any) and answers on threads of
 * its own until http_close(). Borrows cache. Raises INVALID_ARGUMENT, UNAVAILABLE.
 */
int http_open(const char *listen, struct cache *cache, struct http **ret_http, struct error *err);

/* The port it listens at. */
unsigned int http_port(const struct http *http);

/*
 * Ends connections that have lasted too long, whoever keeps them: to be called about once a second.
 */
void http_expire(struct http *http);

/* Answers what is under way, then ends. Accepts NULL. */
void http_close(struct http *http);
DEFINE_CLEANUP(struct http, http_close)
