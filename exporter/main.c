/* bpfleet-exporter: metrics of this node for Prometheus, as an ordinary client of the daemon. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "exporter/cache.h"
#include "exporter/http.h"
#include "exporter/metrics.h"

static const char usage[] =
	"usage: bpfleet-exporter [--listen ADDRESS:PORT] [--socket PATH]\n"
	"Serves metrics of the bpfleet node at http://ADDRESS:PORT/metrics, for Prometheus.\n"
	"  --listen ADDRESS:PORT  where to listen, 127.0.0.1:9769 by default\n"
	"  --socket PATH          the daemon's socket; else $BPFLEET_SOCKET, or\n"
	"                         /run/bpfleet/bpfleet.sock\n"
	"  --list                 print the table of metrics\n"
	"  --version              print the version\n"
	"  --help                 print this\n";

static int print_list(void)
{
	struct str text = { 0 };
	int r;

	metrics_document(&text);
	r = text.failed || fputs(text.data, stdout) == EOF || fflush(stdout) == EOF ? 1 : 0;
	str_done(&text);
	return r;
}

static int serve(const char *listen, const char *socket_path, struct error *err)
{
	const struct cache_options options = { .socket_path = socket_path,
					       .max_age_ms = 1000,
					       .timeout_ms = 5000 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	_cleanup_(http_closep) struct http *http = NULL;
	sigset_t signals;
	const struct timespec second = { .tv_sec = 1 };
	int r;

	/* Before any thread is made: all of them leave these to sigwait(). */
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
	r = cache_new(&options, &cache, err);
	if (r == 0)
		r = http_open(listen, cache, &http, err);
	if (r < 0)
		return r;
	log_info("listening at %s, port %u", listen, http_port(http));
	/* Nothing but these two signals ends it. */
	while (sigtimedwait(&signals, NULL, &second) < 0)
		http_expire(http);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "socket", required_argument, NULL, 's' },
		{ "list", no_argument, NULL, 't' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *listen = "127.0.0.1:9769", *socket_path = NULL;
	struct error err = { 0 };
	int option, action = 0;

	log_init("bpfleet-exporter", LOG_LEVEL_INFO);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'l')
			listen = optarg;
		else if (option == 's')
			socket_path = optarg;
		else
			action = option;
	}
	if (action == '?' || action == 'h' || optind != argc) {
		(void)fputs(usage, action == 'h' ? stdout : stderr);
		return action == 'h' ? 0 : 2;
	}
	if (action == 'v') {
		(void)printf("bpfleet-exporter %s\n", BPFLEET_VERSION);
		return 0;
	}
	if (action == 't')
		return print_list();
	(void)signal(SIGPIPE, SIG_IGN);
	if (serve(listen, socket_path, &err) < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "cannot run");
		return 1;
	}
	return 0;
}
