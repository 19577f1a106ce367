#include "exporter/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "exporter/cache.h"

#define CONNECTIONS_MAX 64U
/* Without a byte either way, and altogether: a scrape of Prometheus takes ten seconds at most. */
#define IDLE_SECONDS 5U
#define TOTAL_NS (10 * NS_PER_SEC)

struct http {
	struct MHD_Daemon *daemon;
	struct cache *cache;
	pthread_mutex_t lock;
	struct {
		int fd; /* -1: none */
		uint64_t since;
	} open[CONNECTIONS_MAX];
};

/* One answer for each connection, so that none lasts. */
static enum MHD_Result respond(struct MHD_Connection *connection, unsigned int status,
			       const char *type, const char *text, size_t n)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(n, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned int status,
			      const char *text)
{
	return respond(connection, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* MHD calls it once for the headers, again for each piece of a body, and once at its end. */
static enum MHD_Result answer(void *data, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_size, void **state)
{
	static char seen;
	struct http *http = data;
	enum exposition_format format;
	struct str text = { 0 };
	enum MHD_Result result;

	(void)version;
	(void)upload;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	if (*state == NULL) {
		*state = &seen;
		return MHD_YES;
	}
	if (*upload_size > 0) {
		*upload_size = 0;
		return MHD_YES;
	}
	if (strcmp(url, "/metrics") != 0)
		return refuse(connection, MHD_HTTP_NOT_FOUND, "metrics are at /metrics\n");
	format = exposition_negotiate(
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT));
	cache_get(http->cache, format, &text);
	if (text.failed)
		result = refuse(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	else
		result = respond(connection, MHD_HTTP_OK, exposition_content_type(format),
				 text.data, text.len);
	str_done(&text);
	return result;
}

/* ---- how long connections last */

static void on_connection(void *data, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	const bool opened = code == MHD_CONNECTION_NOTIFY_STARTED;
	struct http *http = data;

	(void)context;
	if (info == NULL)
		return;
	(void)pthread_mutex_lock(&http->lock);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (http->open[i].fd != (opened ? -1 : info->connect_fd))
			continue;
		http->open[i].fd = opened ? info->connect_fd : -1;
		http->open[i].since = clock_monotonic_ns();
		break;
	}
	(void)pthread_mutex_unlock(&http->lock);
}

void http_expire(struct http *http)
{
	const uint64_t now = clock_monotonic_ns();

	(void)pthread_mutex_lock(&http->lock);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		/* Its thread finds it at its end and closes it. */
		if (http->open[i].fd >= 0 && now - http->open[i].since > TOTAL_NS)
			(void)shutdown(http->open[i].fd, SHUT_RDWR);
	}
	(void)pthread_mutex_unlock(&http->lock);
}

/* ---- life */

/* "127.0.0.1:9769", "[::1]:9769" */
static int resolve(const char *listen, struct addrinfo **ret, struct error *err)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	const char *colon = strrchr(listen, ':');
	size_t n = colon == NULL ? 0 : (size_t)(colon - listen);
	_cleanup_free_ char *address = NULL;

	if (n > 2 && listen[0] == '[' && listen[n - 1] == ']')
		address = strndup(listen + 1, n - 2);
	else
		address = strndup(listen, n);
	if (address == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (n == 0 || getaddrinfo(address, colon + 1, &hints, ret) != 0)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "'%s' is no ADDRESS:PORT; give numbers, like 127.0.0.1:9769",
				   listen);
	return 0;
}

int http_open(const char *listen, struct cache *cache, struct http **ret_http, struct error *err)
{
	_cleanup_(http_closep) struct http *http = calloc(1, sizeof(*http));
	unsigned int flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION;
	struct addrinfo *address;
	int r;

	if (http == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	http->cache = cache;
	(void)pthread_mutex_init(&http->lock, NULL);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		http->open[i].fd = -1;
	r = resolve(listen, &address, err);
	if (r < 0)
		return r;
	if (address->ai_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	errno = 0;
	http->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, answer, http, MHD_OPTION_SOCK_ADDR, address->ai_addr,
		MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		IDLE_SECONDS, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_END);
	r = errno;
	freeaddrinfo(address);
	if (http->daemon == NULL)
		return error_raise_errno(err, ERROR_UNAVAILABLE, r, "cannot listen at %s", listen);
	*ret_http = TAKE_PTR(http);
	return 0;
}

unsigned int http_port(const struct http *http)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);

	return info == NULL ? 0 : info->port;
}

void http_close(struct http *http)
{
	if (http == NULL)
		return;
	if (http->daemon != NULL)
		MHD_stop_daemon(http->daemon);
	(void)pthread_mutex_destroy(&http->lock);
	free(http);
}
