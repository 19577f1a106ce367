#include "client/commands.h"

#define ARGUMENTS(...) ((const struct cli_argument[]){ __VA_ARGS__, { 0 } })
#define OPTIONS(...) ((const struct cli_option[]){ __VA_ARGS__, { 0 } })
#define EXAMPLES(...) ((const struct cli_example[]){ __VA_ARGS__, { 0 } })

/* clang-format off */

static const struct cli_option global_options[] = {
	{ OPTION_OUTPUT, "output", 0, CLI_CHOICE, .metavar = "FORMAT", .choices = "table|json", .fallback = "table",
	  .help = "tables for people, or canonical proto3 JSON: one document, for streams one object a line" },
	{ OPTION_SOCKET, "socket", 0, CLI_FILE, .metavar = "PATH",
	  .fallback = "$BPFLEET_SOCKET, or /run/bpfleet/bpfleet.sock",
	  .help = "the daemon's socket" },
	{ OPTION_TIMEOUT, "timeout", 0, CLI_DURATION, .metavar = "DURATION", .fallback = "30s",
	  .help = "how long one call to the daemon may take; for push and map dump, how long without progress" },
	{ OPTION_HELP, "help", 'h', CLI_FLAG, .help = "show how the command is used" },
	{ OPTION_VERSION, "version", 0, CLI_FLAG, .help = "show the version" },
	{ 0 },
};

#define INSTANCE_HELP "id or label of an instance, with or without `instances/`"
#define MAP_ARGUMENT { "INSTANCE/MAP", 1, 1, CLI_COMPLETE_MAP, .help = "an instance and one of its maps" }
#define KEY_HELP "a key as the map's dump shows it: 42, -1, 10.0.0.0/8, {\"addr\":\"10.0.0.1\",\"port\":80}, with all its members; 0x2a is a number, or for anything else than one number the bytes in hex"
#define PASSWORD_OPTION \
	{ OPTION_PASSWORD_FILE, "password-file", 0, CLI_FILE, .metavar = "FILE", \
	  .help = "read the key's password from the first line of FILE (- is standard input) instead of asking" }
#define SOCKET_FD_OPTION(text) \
	{ OPTION_SOCKET_FD, "socket-fd", 0, CLI_NUMBER, .metavar = "N", .help = text }
#define LOAD_OPTIONS \
	{ OPTION_PARAM, "param", 0, CLI_ASSIGNMENT, .repeats = true, .metavar = "NAME=VALUE", \
	  .help = "set a parameter of the bundle" }, \
	{ OPTION_DURABILITY, "durability", 0, CLI_CHOICE, .metavar = "KIND", .choices = "persistent|boot|lease", \
	  .fallback = "persistent", \
	  .help = "persistent: comes back after a reboot; boot: ends with it; lease: ends with this command, which stays in the foreground" }, \
	{ OPTION_TTL, "ttl", 0, CLI_DURATION, .metavar = "DURATION", .help = "how long a lease lives at most" }, \
	{ OPTION_LABEL, "label", 0, CLI_TEXT, .metavar = "LABEL", \
	  .help = "a name of your own for the instance, unique among yours" }, \
	{ OPTION_MAX_MEMORY, "max-memory-bytes", 0, CLI_NUMBER, .metavar = "N", \
	  .help = "refuse the load if the kernel charges more; budgets go beside the bundle's own, the smaller bound counts (docs/budgets.md)" }, \
	{ OPTION_MAX_NS_PER_RUN, "max-ns-per-run", 0, CLI_NUMBER, .metavar = "N", \
	  .help = "quarantine the bundle if a run of a program takes longer, on the average of three sampled windows in a row" }, \
	{ OPTION_MAX_CPU, "max-cpu-ppm", 0, CLI_NUMBER, .metavar = "N", \
	  .help = "the same for the time of all programs, in millionths of one CPU" }, \
	{ OPTION_MAX_EVENTS, "max-events", 0, CLI_NUMBER, .metavar = "N", .help = "end a lease after N events" }, \
	{ OPTION_MAX_EVENT_BYTES, "max-event-bytes", 0, CLI_NUMBER, .metavar = "N", .help = "end a lease after N bytes of events" }

static const struct cli_command commands[] = {
	/* ---- keys and bundles, without a daemon */
	{ "key generate", "Make a key pair for signing bundles",
	  .description = "The files are those of minisign: stock minisign reads them and signs with them. The secret key is encrypted "
		"with a password, which is asked for on the terminal, unless --no-password is given. An existing key is never overwritten "
		"without --force.",
	  .options = OPTIONS(
		{ OPTION_PUBLIC_KEY, "public-key", 'p', CLI_FILE, .metavar = "FILE", .fallback = "bpfleet.pub", .help = "public key file to write" },
		{ OPTION_SECRET_KEY, "secret-key", 's', CLI_FILE, .metavar = "FILE", .fallback = "bpfleet.key", .help = "secret key file to write, mode 0600" },
		{ OPTION_NO_PASSWORD, "no-password", 'W', CLI_FLAG, .help = "do not encrypt the secret key" },
		PASSWORD_OPTION,
		{ OPTION_COMMENT, "comment", 'c', CLI_TEXT, .metavar = "TEXT", .help = "untrusted comment of the secret key file" },
		{ OPTION_FORCE, "force", 'f', CLI_FLAG, .help = "overwrite existing files" }),
	  .examples = EXAMPLES({ "bpfleet key generate -p team.pub -s team.key", "make team.pub and team.key, asking for a password" }),
	  .run = cmd_key_generate },
	{ "bundle build", "Build a bundle from bundle.yaml and compiled BPF objects",
	  .description = "Programs, hooks, maps and parameters are read from the objects' ELF and BTF; bundle.yaml adds what they cannot "
		"tell (docs/bundle-yaml.md). The same input gives the same bytes.",
	  .arguments = ARGUMENTS({ "YAML", 0, 1, CLI_COMPLETE_FILE, .help = "bundle.yaml, or the folder that holds it; the current folder if left out" }),
	  .options = OPTIONS(
		{ OPTION_OUT, "out", 'o', CLI_FILE, .metavar = "FILE", .fallback = "NAME-VERSION.bpfb in the current folder", .help = "file to write" },
		{ OPTION_OBJECT_DIR, "object-dir", 0, CLI_FILE, .metavar = "DIR", .fallback = "the folder of the YAML", .help = "what object paths are relative to" }),
	  .examples = EXAMPLES({ "bpfleet bundle build packet_count/bundle.yaml --object-dir build/bpf", "write packet_count-1.0.0.bpfb" }),
	  .run = cmd_bundle_build },
	{ "bundle sign", "Sign bundles with a minisign key",
	  .description = "Writes FILE.minisig beside each file, as `minisign -S` does. Further signers choose another name with --name. A "
		"signature made by another key is not overwritten without --force.",
	  .arguments = ARGUMENTS({ "FILE", 1, CLI_MANY, CLI_COMPLETE_FILE, .help = "bundle to sign" }),
	  .options = OPTIONS(
		{ OPTION_SECRET_KEY, "secret-key", 's', CLI_FILE, .required = true, .metavar = "FILE", .help = "secret key file" },
		PASSWORD_OPTION,
		{ OPTION_NAME, "name", 'n', CLI_TEXT, .metavar = "NAME", .help = "write FILE.NAME.minisig" },
		{ OPTION_COMMENT, "comment", 't', CLI_TEXT, .metavar = "TEXT", .fallback = "time and file name, as minisign has it", .help = "trusted comment, covered by the signature" },
		{ OPTION_FORCE, "force", 'f', CLI_FLAG, .help = "overwrite another key's signature" }),
	  .examples = EXAMPLES({ "bpfleet bundle sign -s team.key packet_count-1.0.0.bpfb", "write packet_count-1.0.0.bpfb.minisig" }),
	  .run = cmd_bundle_sign },
	{ "bundle verify", "Verify the signatures of a bundle",
	  .description = "Offline, and on bytes only: nothing in the file is parsed before its signatures are accepted.",
	  .arguments = ARGUMENTS({ "FILE", 1, 1, CLI_COMPLETE_FILE, .help = "bundle to verify" }),
	  .options = OPTIONS(
		{ OPTION_PUBLIC_KEY, "public-key", 'p', CLI_FILE, .repeats = true, .required = true, .metavar = "KEY", .help = "public key that is trusted: a file, or its base64 line" },
		{ OPTION_SIGNATURE, "signature", 'x', CLI_FILE, .repeats = true, .metavar = "FILE", .fallback = "FILE.minisig and FILE.*.minisig", .help = "signature file" },
		{ OPTION_THRESHOLD, "threshold", 0, CLI_NUMBER, .metavar = "N", .fallback = "1", .help = "how many of the keys must have signed" }),
	  .examples = EXAMPLES({ "bpfleet bundle verify -p team.pub packet_count-1.0.0.bpfb", "exit 0 if team's key signed it, 6 if not" }),
	  .run = cmd_bundle_verify },
	{ "bundle inspect", "Show what is in a bundle",
	  .description = "Without -p the content is shown unverified, and the output says so: anybody may have written it.",
	  .arguments = ARGUMENTS({ "FILE", 1, 1, CLI_COMPLETE_FILE, .help = "bundle to show" }),
	  .options = OPTIONS(
		{ OPTION_PUBLIC_KEY, "public-key", 'p', CLI_FILE, .repeats = true, .metavar = "KEY", .help = "verify with this public key first" },
		{ OPTION_SIGNATURE, "signature", 'x', CLI_FILE, .repeats = true, .metavar = "FILE", .fallback = "FILE.minisig and FILE.*.minisig", .help = "signature file" },
		{ OPTION_THRESHOLD, "threshold", 0, CLI_NUMBER, .metavar = "N", .fallback = "1", .help = "how many of the keys must have signed" }),
	  .run = cmd_bundle_inspect },
	{ "bundle diff", "Show what differs between two bundles",
	  .description = "Compares the manifests: programs, hooks, maps, parameters, object digests; and says of each map whether a replace would keep, convert or reset it, or be refused, and for what difference. Nothing is verified.",
	  .arguments = ARGUMENTS({ "OLD", 1, 1, CLI_COMPLETE_FILE, .help = "bundle file" }, { "NEW", 1, 1, CLI_COMPLETE_FILE, .help = "bundle file" }),
	  .run = cmd_bundle_diff },

	/* ---- what runs */
	{ "push", "Store a signed bundle with the daemon",
	  .description = "Sends the bytes and the signatures. A push that broke off goes on where it stopped; pushing what is there already is no error.",
	  .arguments = ARGUMENTS({ "FILE", 1, 1, CLI_COMPLETE_FILE, .help = "bundle file" }),
	  .options = OPTIONS({ OPTION_SIGNATURE, "signature", 'x', CLI_FILE, .repeats = true, .metavar = "FILE", .fallback = "FILE.minisig and FILE.*.minisig", .help = "signature file" }),
	  .run = cmd_push },
	{ "load", "Load a bundle; its programs are then in the kernel and attached to nothing",
	  .description = "With --durability lease the command stays in the foreground: the lease ends with it, or with Ctrl-C.",
	  .arguments = ARGUMENTS({ "NAME[@VERSION]", 1, 1, CLI_COMPLETE_BUNDLE, .help = "bundle; the highest version if none is given" }),
	  .options = OPTIONS(LOAD_OPTIONS,
		{ OPTION_VALIDATE_ONLY, "validate-only", 0, CLI_FLAG, .help = "a real run of the verifier, with its figures, or the end of its log; nothing is kept" }),
	  .examples = EXAMPLES({ "bpfleet load packet_count --label web --param ipv4_prefix=16", "load the newest packet_count as `web`" }),
	  .run = cmd_load },
	{ "attach", "Attach a program of an instance to a hook",
	  .arguments = ARGUMENTS({ "INSTANCE", 1, 1, CLI_COMPLETE_INSTANCE, .help = INSTANCE_HELP },
		{ "PROGRAM", 1, 1, CLI_COMPLETE_NONE, .help = "name of the program" },
		{ "HOOK", 1, 1, CLI_COMPLETE_NONE, .help = "KIND:TARGET[:ARG][,key=value...], see docs/naming.md" }),
	  .options = OPTIONS(SOCKET_FD_OPTION("attach to this socket of yours, on a hook of kind socket_filter or sk_reuseport; no link comes of it, it ends with the socket")),
	  .examples = EXAMPLES({ "bpfleet attach web count_xdp xdp:eth0", "count what eth0 receives" },
		{ "bpfleet attach web count_tc_egress tc:eth0:egress", "count what eth0 sends" }),
	  .run = cmd_attach },
	{ "run", "Load a bundle and attach it",
	  .description = "Attaches to the default hooks that the manifest names, or to those given with --attach. A bundle file (a path "
		"with a slash, or *.bpfb) is pushed first. Default hooks are one change with the load, all or nothing. Hooks given with "
		"--attach, and defaults of which one is a uprobe, are attached one by one after it: if one fails, the instance is unloaded "
		"again, but a command that is killed in between leaves it loaded, as `bpfleet list` then shows.",
	  .arguments = ARGUMENTS({ "NAME[@VERSION]|FILE", 1, 1, CLI_COMPLETE_BUNDLE, .help = "bundle, or bundle file to push first" }),
	  .options = OPTIONS(
		{ OPTION_ATTACH, "attach", 'a', CLI_ASSIGNMENT, .repeats = true, .metavar = "PROGRAM=HOOK", .help = "attach this program to this hook, instead of the default hooks" },
		LOAD_OPTIONS,
		{ OPTION_SIGNATURE, "signature", 'x', CLI_FILE, .repeats = true, .metavar = "FILE", .fallback = "FILE.minisig and FILE.*.minisig", .help = "signature file, when a file is pushed" }),
	  .examples = EXAMPLES({ "bpfleet run exec_watch", "load and attach by the manifest" },
		{ "bpfleet run packet_count -a count_xdp=xdp:eth0 --durability lease", "count until Ctrl-C" }),
	  .run = cmd_run },
	{ "detach", "Detach links",
	  .arguments = ARGUMENTS({ "LINK", 1, CLI_MANY, CLI_COMPLETE_LINK, .help = "id of a link, with or without `links/`" }),
	  .run = cmd_detach },
	{ "unload", "Detach and remove instances",
	  .arguments = ARGUMENTS({ "INSTANCE", 1, CLI_MANY, CLI_COMPLETE_INSTANCE, .help = INSTANCE_HELP }),
	  .run = cmd_unload },
	{ "replace", "Have an instance run another version of its bundle",
	  .description = "The new version is loaded beside the old one, maps are kept where both agree on them, and every link goes over in turn, without "
		"a packet unseen where the kernel can do that (docs/replace.md). A failure anywhere leaves the old version running. The old version is then "
		"kept for `rollback` until `commit`, or until the soak time is over. To change parameters, replace a version by itself.",
	  .arguments = ARGUMENTS({ "INSTANCE", 1, 1, CLI_COMPLETE_INSTANCE, .help = INSTANCE_HELP },
		{ "NAME[@VERSION]", 1, 1, CLI_COMPLETE_BUNDLE, .help = "bundle; the highest version if none is given" }),
	  .options = OPTIONS(
		{ OPTION_PARAM, "param", 0, CLI_ASSIGNMENT, .repeats = true, .metavar = "NAME=VALUE", .help = "set a parameter; the others keep their values" },
		{ OPTION_FORGET_PARAMETERS, "forget-parameters", 0, CLI_FLAG, .help = "parameters that are not given get the new version's defaults" },
		{ OPTION_SOAK, "soak", 0, CLI_DURATION, .metavar = "DURATION", .fallback = "until commit or rollback", .help = "how long the old version is kept; then the instance is committed" },
		{ OPTION_RESET_MAP, "reset-map", 0, CLI_TEXT, .repeats = true, .metavar = "MAP", .help = "let this map start empty, whatever the manifest says" },
		{ OPTION_VALIDATE_ONLY, "validate-only", 0, CLI_FLAG, .help = "a real run of the verifier with the maps that would be kept; nothing changes" }),
	  .examples = EXAMPLES({ "bpfleet replace web packet_count@1.1.0 --soak 10m", "go over to 1.1.0, keep the old version for ten minutes" },
		{ "bpfleet replace web packet_count@1.1.0 --param ipv4_prefix=16", "change a parameter of the running version" }),
	  .run = cmd_replace },
	{ "rollback", "Have an instance run the version before again",
	  .arguments = ARGUMENTS({ "INSTANCE", 1, 1, CLI_COMPLETE_INSTANCE, .help = INSTANCE_HELP }),
	  .run = cmd_rollback },
	{ "commit", "Give up the version that an instance keeps for rollback",
	  .arguments = ARGUMENTS({ "INSTANCE", 1, 1, CLI_COMPLETE_INSTANCE, .help = INSTANCE_HELP }),
	  .run = cmd_commit },
	{ "remove", "Remove bundles that no instance uses",
	  .arguments = ARGUMENTS({ "NAME@VERSION", 1, CLI_MANY, CLI_COMPLETE_BUNDLE, .help = "stored bundle" }),
	  .run = cmd_remove },

	/* ---- seeing */
	{ "list", "List what the daemon has",
	  .arguments = ARGUMENTS({ "KIND", 0, 1, CLI_COMPLETE_CHOICES, .choices = "instances|bundles|programs|links|maps|foreign", .help = "what to list; instances if left out, foreign: programs in the kernel that bpfleet did not load, and never touches" }),
	  .options = OPTIONS(
		{ OPTION_INSTANCE, "instance", 'i', CLI_TEXT, .metavar = "INSTANCE", .help = "only programs, links or maps of this instance" },
		{ OPTION_BUNDLE, "bundle", 'b', CLI_TEXT, .metavar = "NAME[@VERSION]", .help = "only instances of this bundle" }),
	  .run = cmd_list },
	{ "program show", "Show a program of an instance, and what the verifier counted",
	  .arguments = ARGUMENTS({ "INSTANCE/PROGRAM", 1, 1, CLI_COMPLETE_NONE, .help = "an instance and one of its programs" }),
	  .examples = EXAMPLES({ "bpfleet program show web/count_xdp", "how many instructions, states and bytes of stack the verifier saw" }),
	  .run = cmd_program_show },
	{ "map get", "Read keys of a map",
	  .description = "INSTANCE/MAP[KEY] is the inner map that a map of maps has under KEY.",
	  .arguments = ARGUMENTS(MAP_ARGUMENT, { "KEY", 0, CLI_MANY, CLI_COMPLETE_NONE, .help = KEY_HELP "; of a data section the name of a variable, of a bloom filter a value, of a task storage a process id, of a cgroup storage a path; none for a queue or a stack" }),
	  .options = OPTIONS({ OPTION_PER_CPU, "per-cpu", 0, CLI_FLAG, .help = "show the value of each CPU instead of their sum" }),
	  .run = cmd_map_get },
	{ "map dump", "Read all entries of a map",
	  .arguments = ARGUMENTS(MAP_ARGUMENT),
	  .options = OPTIONS({ OPTION_PER_CPU, "per-cpu", 0, CLI_FLAG, .help = "show the value of each CPU instead of their sum" }),
	  .run = cmd_map_dump },
	{ "map set", "Write an entry of a map",
	  .description = "For maps that the manifest gives a user-space writer. A per-CPU map takes one value for all CPUs, or {\"cpus\":[...]} with one for each in a file.",
	  .arguments = ARGUMENTS(MAP_ARGUMENT, { "KEY VALUE", 0, 2, CLI_COMPLETE_NONE,
		.help = KEY_HELP ", or of a data section the name of a variable; then a value in the same forms, or of a map of maps or of programs the name of one of the instance's, + for a fresh inner map" }),
	  .options = OPTIONS(SOCKET_FD_OPTION("put this socket of yours into a map of sockets, instead of VALUE"),
		{ OPTION_FILE, "file", 0, CLI_FILE, .metavar = "FILE", .help = "write the entries of FILE (- is standard input), one JSON object a line as `map dump --output json` prints them, instead of KEY and VALUE" }),
	  .examples = EXAMPLES({ "bpfleet map set web/.data log_level 2", "write one global variable" },
		{ "bpfleet map set web/backends --file backends.json", "put back what `map dump web/backends --output json` wrote" }),
	  .run = cmd_map_set },
	{ "map push", "Add values to a queue, a stack or a bloom filter",
	  .arguments = ARGUMENTS(MAP_ARGUMENT, { "VALUE", 1, CLI_MANY, CLI_COMPLETE_NONE, .help = "a value as the map's JSON shows it" }),
	  .run = cmd_map_push },
	{ "map pop", "Take values out of a queue or a stack",
	  .arguments = ARGUMENTS(MAP_ARGUMENT),
	  .options = OPTIONS({ OPTION_COUNT, "count", 'n', CLI_NUMBER, .metavar = "N", .fallback = "1", .help = "at most N values" }),
	  .run = cmd_map_pop },
	{ "map open", "Run a command that holds a frozen map as a file descriptor",
	  .description = "The descriptor is inherited, its number is in BPFLEET_MAP_FD: lookups by bpf(2), or a read-only mmap of an "
		"array, at the kernel's own speed. Only maps that the daemon froze are given out; nobody can write through it.",
	  .arguments = ARGUMENTS(MAP_ARGUMENT, { "COMMAND", 1, CLI_MANY, CLI_COMPLETE_NONE, .help = "command and its arguments, after --" }),
	  .run = cmd_map_open },
	{ "map delete", "Delete keys of a map",
	  .arguments = ARGUMENTS(MAP_ARGUMENT, { "KEY", 0, CLI_MANY, CLI_COMPLETE_NONE, .help = KEY_HELP }),
	  .options = OPTIONS({ OPTION_FILE, "file", 0, CLI_FILE, .metavar = "FILE", .help = "delete the keys of FILE (- is standard input), one JSON object a line as `map dump --output json` prints them, instead of KEY; a key that is not there is passed over" }),
	  .examples = EXAMPLES({ "bpfleet map delete web/backends --file gone.json", "delete the keys of what `map dump` wrote" }),
	  .run = cmd_map_delete },
	{ "events", "Follow the events of an instance until Ctrl-C",
	  .arguments = ARGUMENTS({ "INSTANCE[/MAP]", 1, 1, CLI_COMPLETE_INSTANCE, .help = "an instance, or one of its ring buffers or perf buffers" }),
	  .options = OPTIONS(
		{ OPTION_FILTER, "filter", 'F', CLI_TEXT, .metavar = "CONDITION", .help = "only events for which it holds, as in docs/events.md" },
		{ OPTION_SAMPLE, "sample", 'S', CLI_NUMBER, .metavar = "N", .help = "of those, one in N" },
		{ OPTION_RATE, "rate", 'r', CLI_NUMBER, .metavar = "N", .help = "of those, at most N in a second" },
		{ OPTION_COUNT, "count", 'n', CLI_NUMBER, .metavar = "N", .help = "end after N events" },
		{ OPTION_DURATION, "duration", 'd', CLI_DURATION, .metavar = "DURATION", .help = "end after that time" }),
	  .examples = EXAMPLES({ "bpfleet events tracer --filter pid==1234", "follow one process" }),
	  .run = cmd_events },
	{ "read", "Read what an iterator prints",
	  .description = "Each reading runs the iterator's program afresh over all that its link is about: tasks, maps, sockets.",
	  .arguments = ARGUMENTS({ "LINK|INSTANCE/PROGRAM", 1, 1, CLI_COMPLETE_LINK, .help = "a link on a hook of kind iter, or a program with one such link" }),
	  .examples = EXAMPLES({ "bpfleet read tasks/print_task", "print what the program says about each task" }),
	  .run = cmd_read },
	{ "call", "Call a program of type syscall once",
	  .arguments = ARGUMENTS({ "INSTANCE/PROGRAM", 1, 1, CLI_COMPLETE_NONE, .help = "an instance and one of its programs" }),
	  .options = OPTIONS({ OPTION_CONTEXT, "context", 'c', CLI_TEXT, .metavar = "HEX|@FILE",
		.help = "what the program gets as its context, in hex digits or as the bytes of a file" }),
	  .examples = EXAMPLES({ "bpfleet call tools/flush --context 0100000000000000", "call it with a context of eight bytes" }),
	  .run = cmd_call },
	{ "watch", "Follow the changes of bundles, instances, programs, links and maps until Ctrl-C",
	  .options = OPTIONS(
		{ OPTION_SINCE_REVISION, "since-revision", 0, CLI_NUMBER, .metavar = "REVISION", .help = "only changes after it, instead of first what is there now" },
		{ OPTION_COUNT, "count", 'n', CLI_NUMBER, .metavar = "N", .help = "end after N changes" },
		{ OPTION_DURATION, "duration", 'd', CLI_DURATION, .metavar = "DURATION", .help = "end after that time" }),
	  .run = cmd_watch },
	{ "top", "Show what programs cost, live",
	  .description = "The kernel counts runs while this command is there, which costs each run some ten nanoseconds. The first line of "
		"an instance is the whole of it, maps included; below it are its programs. EVENTS/S and DROPS are of event maps that somebody "
		"listens to; of a program they are those of the maps that it uses, which others may use, too. 7+ are seven and what the kernel "
		"does not count (docs/events.md). MISSED are runs that the kernel left out, as the program was running there already. On a terminal the screen is drawn anew for each window, and q or Ctrl-C ends it; elsewhere the windows follow one "
		"another.",
	  .arguments = ARGUMENTS({ "INSTANCE", 0, 1, CLI_COMPLETE_INSTANCE, .help = INSTANCE_HELP "; all if left out" }),
	  .options = OPTIONS(
		{ OPTION_INTERVAL, "interval", 0, CLI_DURATION, .metavar = "DURATION", .fallback = "1s", .help = "how long a window is, 100ms to 60s" },
		{ OPTION_COUNT, "count", 'n', CLI_NUMBER, .metavar = "N", .help = "end after N windows" },
		{ OPTION_ONCE, "once", 0, CLI_FLAG, .help = "one window, as --count 1, never drawn anew" },
		{ OPTION_SORT, "sort", 0, CLI_CHOICE, .metavar = "KEY", .choices = "cpu|runs|ns|memory|drops", .fallback = "cpu", .help = "what comes first" }),
	  .examples = EXAMPLES({ "bpfleet top", "until q" }, { "bpfleet top web --once --output json", "one window of one instance" }),
	  .run = cmd_top },
	{ "quarantine list", "List bundles that went over their budget and are not loaded any more",
	  .run = cmd_quarantine_list },
	{ "quarantine release", "Let quarantined bundles run again",
	  .description = "Instances of them that were taken off their hooks are attached again.",
	  .arguments = ARGUMENTS({ "NAME@VERSION|DIGEST", 1, CLI_MANY, CLI_COMPLETE_BUNDLE, .help = "stored bundle; the digest of one that is not stored any more" }),
	  .run = cmd_quarantine_release },
	{ "status", "Show the daemon's state, what is wrong with it, and who you are to it",
	  .run = cmd_status },
	{ "features", "Show which kinds of hooks and maps this host can serve, and why not the others",
	  .description = "Found by trying when the daemon started, not by the kernel's version.",
	  .run = cmd_features },
	{ "audit", "Show the audit log",
	  .options = OPTIONS(
		{ OPTION_IDENTITY, "identity", 0, CLI_TEXT, .metavar = "IDENTITY", .help = "only what this identity did: uid:1000" },
		{ OPTION_VERB, "verb", 0, CLI_TEXT, .metavar = "VERB", .help = "only this verb: those of policy.yaml (push, load, attach, ...), policy, revoke, reapply, boot, lease_end" },
		{ OPTION_OBJECT, "object", 0, CLI_TEXT, .metavar = "NAME", .help = "only this resource name: instances/ID" },
		{ OPTION_OUTCOME, "outcome", 0, CLI_CHOICE, .metavar = "OUTCOME", .choices = "ok|denied|failed|unknown", .help = "only this outcome" },
		{ OPTION_SINCE, "since", 0, CLI_TIME, .metavar = "TIME", .help = "from then on: RFC 3339, or how long ago (10m, 2h)" },
		{ OPTION_UNTIL, "until", 0, CLI_TIME, .metavar = "TIME", .help = "up to then" },
		{ OPTION_LIMIT, "limit", 'n', CLI_NUMBER, .metavar = "N", .fallback = "100", .help = "the last N rows; 0: all" },
		{ OPTION_FOLLOW, "follow", 'f', CLI_FLAG, .help = "go on with new rows until Ctrl-C" }),
	  .examples = EXAMPLES({ "bpfleet audit --outcome denied --since 1d", "what was refused since yesterday" }),
	  .run = cmd_audit },
	{ "gc", "Remove what no state row speaks of: orphan pins, broken uploads",
	  .options = OPTIONS({ OPTION_DRY_RUN, "dry-run", 0, CLI_FLAG, .help = "only list it" }),
	  .run = cmd_gc },

	/* ---- the tool itself */
	{ "version", "Show the version", .run = cmd_version },
	{ "help", "Show how bpfleet or one of its commands is used",
	  .arguments = ARGUMENTS({ "COMMAND", 0, 2, CLI_COMPLETE_COMMAND, .help = "a command" }),
	  .options = OPTIONS({ OPTION_FORMAT, "format", 0, CLI_CHOICE, .metavar = "FORMAT", .choices = "text|markdown|man", .fallback = "text", .help = "markdown prints docs/cli.md, man prints bpfleet.1; of all commands" }),
	  .run = cmd_help },
	{ "completion", "Print a shell's completion script",
	  .arguments = ARGUMENTS({ "SHELL", 1, 1, CLI_COMPLETE_CHOICES, .choices = "bash", .help = "the shell" }),
	  .examples = EXAMPLES({ "source <(bpfleet completion bash)", "complete in this shell" }),
	  .run = cmd_completion },
	{ "complete", "Print names for the completion script",
	  .arguments = ARGUMENTS({ "KIND", 1, 1, CLI_COMPLETE_CHOICES, .choices = "bundles|instances|maps|links", .help = "what to print" }),
	  .run = cmd_complete, .hidden = true },
	{ 0 },
};
/* clang-format on */

const struct cli_tables cli_tables = { .commands = commands, .options = global_options };
