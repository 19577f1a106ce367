#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/build/build.h"
#include "client/bundle-file.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/file.h"
#include "client/units.h"
#include "proto/arena.h"

/* The YAML of the argument: itself, or bundle.yaml in the folder that it names. */
static int yaml_path(const char *given, char **ret, struct error *err)
{
	struct stat st;
	int n;

	if (given == NULL)
		given = ".";
	if (stat(given, &st) == 0 && S_ISDIR(st.st_mode))
		n = asprintf(ret, "%s/bundle.yaml", given);
	else
		n = asprintf(ret, "%s", given);
	return n < 0 ? error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory") : 0;
}

static int write_bundle(struct cli *cli, struct bundle_file *file, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	_cleanup_free_ char *made_path = NULL;
	_cleanup_(str_done) struct str said = { 0 };
	char label[NAME_BUNDLE_REF_MAX + 1];
	Bpfleet__V1__BundleInfo *info;
	Bpfleet__V1__Bundle *bundle;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = bundle_parse(arena, file->bytes, file->size, &bundle, err);
	if (r < 0)
		return r;
	bundle_file_label(bundle->manifest, label);
	file->path = cli_text(&cli->args, OPTION_OUT, NULL);
	if (file->path == NULL) {
		*strchr(label, '@') = '-';
		if (asprintf(&made_path, "%s.bpfb", label) < 0)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		file->path = made_path;
	}
	r = file_write(file->path, file->bytes, file->size, 0644, true, err);
	if (r == 0)
		r = bundle_file_info(file, bundle->manifest, NULL, arena, &info, err);
	if (r < 0)
		return r;
	if (cli->json)
		return cli_print_message(cli, &info->base, err);
	(void)str_append(&said, "built ");
	(void)str_append_escaped(&said, file->path, SIZE_MAX);
	(void)str_append(&said, ", ");
	(void)units_append_bytes(&said, file->size);
	(void)str_appendf(&said, ": %zu programs, %zu maps, %zu parameters; not signed yet",
			  bundle->manifest->n_programs, bundle->manifest->n_maps,
			  bundle->manifest->n_parameters);
	return cli_print_str(cli, &said, err);
}

int cmd_bundle_build(struct cli *cli, struct error *err)
{
	_cleanup_(bundle_file_done) struct bundle_file file = { 0 };
	_cleanup_free_ char *yaml = NULL;
	int r;

	r = yaml_path(cli_argument(&cli->args, 0), &yaml, err);
	if (r == 0)
		r = bundle_build(yaml, cli_text(&cli->args, OPTION_OBJECT_DIR, NULL), &file.bytes,
				 &file.size, err);
	if (r < 0)
		return r;
	digest_compute(file.bytes, file.size, &file.digest);
	return write_bundle(cli, &file, err);
}
