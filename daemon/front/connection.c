#include "daemon/front/connection.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/front/front.h"
#include "daemon/front/service.h"
#include "daemon/front/session.h"
#include "rpc/health.h"
#include "rpc/listener.h"
#include "rpc/reflection.h"
#include "rpc/server.h"

/* A connection whose session core has not opened yet. */
struct arrival {
	struct front *front;
	int fd;
};

static void connection_over(struct front *front)
{
	if (front->listener != NULL)
		rpc_listener_release(front->listener);
}

static void on_closed(struct rpc_connection *connection, void *user)
{
	struct session *session = user;
	struct front *front = session->front;

	(void)connection;
	session_close(session);
	connection_over(front);
}

static void on_ended(const struct rpc_method *method, int status, uint64_t duration_ns, void *user)
{
	const struct session *session = user;

	counts_add(&session->front->counts, method, status, duration_ns);
}

static int connection_serve(struct front *front, struct session *session, int fd, struct error *err)
{
	struct rpc_connection_options options = { .max_calls = front->options.n_calls,
						  .on_closed = on_closed,
						  .on_ended = on_ended };

	return rpc_connection_new(front->loop, fd, front->services, FRONT_N_SERVICES, &options,
				  session, &session->connection, err);
}

static void on_session(void *arg, struct session *session, const struct error *error)
{
	struct arrival *arrival = arg;
	struct front *front = arrival->front;
	struct error err = { 0 };
	int fd = arrival->fd;

	free(arrival);
	if (error == NULL && front->stopping)
		(void)error_raise(&err, ERROR_UNAVAILABLE, "the daemon is stopping");
	if (error != NULL || err.code != ERROR_NONE)
		(void)close(fd);
	else if (connection_serve(front, session, fd, &err) == 0)
		return;
	log_error(LOG_LEVEL_DEBUG, error != NULL ? error : &err, "a connection is not served");
	session_close(session);
	connection_over(front);
}

void connection_accept(void *user, int fd)
{
	struct front *front = user;
	struct arrival *arrival = malloc(sizeof(*arrival));
	struct error err = { 0 };

	if (arrival != NULL) {
		*arrival = (struct arrival){ .front = front, .fd = fd };
		if (session_new(front, fd, NULL, on_session, arrival, &err) != NULL)
			return;
		log_error(LOG_LEVEL_DEBUG, &err, "a connection is refused");
	}
	free(arrival);
	(void)close(fd);
	connection_over(front);
}
