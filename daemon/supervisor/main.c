/* bpfleetd: prepares the host as root, then starts, restarts and serves core, and little else. */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/config/config.h"
#include "daemon/host/host.h"
#include "daemon/sandbox/sandbox.h"
#include "daemon/supervisor/supervisor.h"

static const char usage[] =
	"usage: bpfleetd [--config FILE] [ACTION]\n"
	"Runs the bpfleet node daemon, by default with %s.\n"
	"Actions instead:\n"
	"  --check-config  read configuration, policy and trust files, and say what is wrong\n"
	"  --detach-all    off switch: stop the daemon, remove all its pins, stay off until "
	"--resume\n"
	"  --resume        let the next start apply recorded state again\n"
	"  --version       print the version\n"
	"  --help          print this\n";

static int run(const struct config *config, const char *config_path, struct error *err)
{
	const struct sandbox_identity identity = { .caps = SANDBOX_CAPS_SUPERVISOR };
	struct host host;
	int r = host_prepare(config, &host, err);

	if (r == 0)
		r = sandbox_become(&identity, err);
	if (r == 0)
		r = sandbox_enter_supervisor(err);
	if (r == 0)
		r = supervise(config, config_path, &host, err);
	if (r == 0 && host.sockets_are_ours) {
		(void)unlink(config->socket);
		(void)unlink(config->fd_socket);
	}
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, 'k' },
		{ "detach-all", no_argument, NULL, 'd' },
		{ "resume", no_argument, NULL, 'r' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	_cleanup_(config_freep) struct config *config = NULL;
	const char *path = CONFIG_PATH_DEFAULT;
	struct error err = { 0 };
	int option, action = 0, r;

	log_init("bpfleetd", LOG_LEVEL_INFO);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			path = optarg;
		else if (option == '?' || (action != 0 && action != option))
			action = '?';
		else
			action = option;
	}
	if (action == '?' || action == 'h' || optind != argc) {
		(void)fprintf(action == 'h' ? stdout : stderr, usage, CONFIG_PATH_DEFAULT);
		return action == 'h' ? 0 : 2;
	}
	if (action == 'v') {
		(void)printf("bpfleetd %s\n", BPFLEET_VERSION);
		return 0;
	}
	r = config_load(path, &config, &err);
	if (r == 0)
		log_init("bpfleetd", config->log_level);
	if (r == 0 && action == 'k')
		r = config_check(config, &err);
	else if (r == 0 && action == 'd')
		r = detach_all(config, &err);
	else if (r == 0 && action == 'r')
		r = detach_resume(config, &err);
	else if (r == 0)
		r = run(config, path, &err);
	if (r < 0)
		log_error(LOG_LEVEL_ERROR, &err, action == 0 ? "cannot run" : "failed");
	return r < 0 ? 1 : 0;
}
