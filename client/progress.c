#include "client/progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/units.h"

void progress_init(struct progress *progress, const struct cli *cli, const char *what,
		   bool in_bytes)
{
	*progress = (struct progress){
		.enabled = cli->progress && !cli->json,
		.what = what,
		.in_bytes = in_bytes,
		.started = clock_monotonic_ns(),
	};
}

static void append_amount(const struct progress *progress, struct str *s, uint64_t amount)
{
	if (progress->in_bytes)
		(void)units_append_bytes(s, amount);
	else
		(void)str_appendf(s, "%" PRIu64, amount);
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
	uint64_t now;
	struct str s = { 0 };

	if (!progress->enabled)
		return;
	now = clock_monotonic_ns();
	if (now - progress->started < NS_PER_SEC || now - progress->drawn < NS_PER_SEC / 5)
		return;
	progress->drawn = now;
	progress->shown = true;
	append_amount(progress, &s, done);
	if (total != 0) {
		(void)str_append(&s, " of ");
		append_amount(progress, &s, total);
	}
	(void)fprintf(stderr, "\r\033[K%s %s", progress->what, s.failed ? "" : s.data);
	(void)fflush(stderr);
	str_done(&s);
}

void progress_done(struct progress *progress)
{
	if (progress->shown)
		(void)fputs("\r\033[K", stderr);
	progress->shown = false;
}
