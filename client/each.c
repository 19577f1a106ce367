#include "client/each.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"

static int say_done(const struct cli *cli, const char *done, const char *text, const char *name,
		    struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	if (cli->json) {
		(void)str_append(&s, "{\"name\":");
		(void)str_append_json(&s, name, SIZE_MAX);
		(void)str_append(&s, "}");
	} else {
		(void)str_appendf(&s, "%s ", done);
		(void)str_append_escaped(&s, ref_short(text), SIZE_MAX);
	}
	return cli_print_str(cli, &s, err);
}

int each_argument(struct cli *cli, const struct each *each, struct error *err)
{
	size_t n = cli->args.n_arguments;
	_cleanup_free_ char(*names)[REF_SIZE] = calloc(n, sizeof(*names));
	struct error last = { 0 };
	int r, result = 0;

	if (names == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++) {
		r = cli_usage_if(cli, each->resolve(cli, cli->args.arguments[i], names[i], err));
		if (r < 0)
			return r;
	}
	r = cli_connect(cli, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct error failure = { 0 };

		r = each->act(cli, names[i], &failure);
		if (r == 0)
			r = say_done(cli, each->done, cli->args.arguments[i], names[i], &failure);
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

int each_instance(struct cli *cli, const char *text, char name[static REF_SIZE], struct error *err)
{
	(void)cli;
	return ref_instance(text, name, err);
}
