/* The one table of commands and options: parser, help, docs/cli.md, man page and completion read
 * it. */
#pragma once

#include "client/args.h"

extern const struct cli_tables cli_tables;

/* What the table's rows run; each in a file of its own. Return an exit code or a negative errno. */
int cmd_attach(struct cli *cli, struct error *err);
int cmd_audit(struct cli *cli, struct error *err);
int cmd_bundle_build(struct cli *cli, struct error *err);
int cmd_bundle_diff(struct cli *cli, struct error *err);
int cmd_bundle_inspect(struct cli *cli, struct error *err);
int cmd_bundle_sign(struct cli *cli, struct error *err);
int cmd_bundle_verify(struct cli *cli, struct error *err);
int cmd_call(struct cli *cli, struct error *err);
int cmd_program_show(struct cli *cli, struct error *err);
int cmd_complete(struct cli *cli, struct error *err);
int cmd_completion(struct cli *cli, struct error *err);
int cmd_detach(struct cli *cli, struct error *err);
int cmd_events(struct cli *cli, struct error *err);
int cmd_features(struct cli *cli, struct error *err);
int cmd_gc(struct cli *cli, struct error *err);
int cmd_help(struct cli *cli, struct error *err);
int cmd_key_generate(struct cli *cli, struct error *err);
int cmd_list(struct cli *cli, struct error *err);
int cmd_load(struct cli *cli, struct error *err);
int cmd_map_delete(struct cli *cli, struct error *err);
int cmd_map_dump(struct cli *cli, struct error *err);
int cmd_map_get(struct cli *cli, struct error *err);
int cmd_map_open(struct cli *cli, struct error *err);
int cmd_map_pop(struct cli *cli, struct error *err);
int cmd_map_push(struct cli *cli, struct error *err);
int cmd_map_set(struct cli *cli, struct error *err);
int cmd_push(struct cli *cli, struct error *err);
int cmd_read(struct cli *cli, struct error *err);
int cmd_quarantine_list(struct cli *cli, struct error *err);
int cmd_quarantine_release(struct cli *cli, struct error *err);
int cmd_remove(struct cli *cli, struct error *err);
int cmd_run(struct cli *cli, struct error *err);
int cmd_status(struct cli *cli, struct error *err);
int cmd_top(struct cli *cli, struct error *err);
int cmd_unload(struct cli *cli, struct error *err);
int cmd_replace(struct cli *cli, struct error *err);
int cmd_rollback(struct cli *cli, struct error *err);
int cmd_commit(struct cli *cli, struct error *err);
int cmd_version(struct cli *cli, struct error *err);
int cmd_watch(struct cli *cli, struct error *err);
