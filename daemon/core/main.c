/* bpfleet-core: decides, and is the only process that loads BPF. Started by bpfleetd alone. */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "base/version.h"
#include "daemon/core/core.h"
#include "daemon/sandbox/sandbox.h"

static int usage(void)
{
	(void)fprintf(
		stderr,
		"usage: bpfleet-core --front-fd N --supervisor-fd N "
		"[--config PATH] [--lock-fd N]\nbpfleetd starts it; by hand it is of no use.\n");
	return 2;
}

static bool parse(int argc, char **argv, struct core_options *ret)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, /* for those who look at processes */
		{ "front-fd", required_argument, NULL, 'f' },
		{ "supervisor-fd", required_argument, NULL, 's' },
		{ "lock-fd", required_argument, NULL, 'l' }, /* only kept open */
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t number = 0;
	int c;

	*ret = (struct core_options){ .front_fd = -1, .supervisor_fd = -1 };
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'V') {
			(void)printf("bpfleet-core %s\n", BPFLEET_VERSION);
			exit(0);
		}
		if (c != 'c' && (c == '?' || str_to_u64(optarg, 1 << 20, &number) < 0))
			return false;
		if (c == 'f')
			ret->front_fd = (int)number;
		else if (c == 's')
			ret->supervisor_fd = (int)number;
	}
	return optind == argc && ret->front_fd >= 0 && ret->supervisor_fd >= 0;
}

static struct core core;

static void on_term(int signal_number)
{
	(void)signal_number;
	core.stopping = true;
	if (core.loop != NULL)
		loop_stop(core.loop);
}

/* Blocked from here on, in the workers too; the loop lets it in while it waits. */
static void catch_term(void)
{
	struct sigaction action = { .sa_handler = on_term };
	sigset_t term;

	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &term, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct core_options options;
	struct error err = { 0 };
	int r;

	log_init("bpfleet-core", LOG_LEVEL_INFO);
	if (!parse(argc, argv, &options))
		return usage();
	catch_term();
	(void)mallopt(M_ARENA_MAX, 2);
	r = sandbox_enter_core(&err);
	if (r >= 0)
		r = core_start(&core, &options, &err);
	if (r >= 0)
		r = core_run(&core, &err);
	if (r < 0)
		log_error(LOG_LEVEL_ERROR, &err, "bpfleet-core ends");
	core_done(&core);
	return r < 0 ? 1 : 0;
}
