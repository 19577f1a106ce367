#include "client/each.h"

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"

static int say_done(const struct cli *cli, const char *done, const char *name, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	if (cli->json) {
		(void)str_append(&s, "{\"name\":");
		(void)str_append_json(&s, name, SIZE_MAX);
		(void)str_append(&s, "}");
	} else {
		(void)str_appendf(&s, "%s ", done);
		(void)str_append_escaped(&s, ref_short(name), SIZE_MAX);
	}
	return cli_print_str(cli, &s, err);
}

int each_argument(struct cli *cli, const char *done,
		  int (*act)(struct cli *cli, const char *text, struct error *err),
		  struct error *err)
{
	struct error last = { 0 };
	int result = 0;

	for (size_t i = 0; i < cli->args.n_arguments; i++) {
		const char *text = cli->args.arguments[i];
		struct error failure = { 0 };
		int r;

		r = act(cli, text, &failure);
		if (r == 0)
			r = say_done(cli, done, text, &failure);
		if (r == 0)
			continue;
		if (result < 0)
			cli_print_error(cli, &last);
		result = r;
		last = failure;
	}
	if (result < 0)
		*err = last;
	return result;
}
