/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libbpfleet: load signed BPF programs, read their maps and follow their events through the bpfleet
 * daemon of this host, with no privilege of one's own.
 *
 *     struct bpfleet_error error;
 *     struct bpfleet *node;
 *
 *     if (bpfleet_open(NULL, &node, &error) < 0)
 *             errx(1, "%s", error.message);
 *
 * Results. A function returns 0, or a negative errno after filling `error` (which may be NULL).
 * Outputs (`ret_...`) are untouched on failure.
 *
 * Ownership. What comes back through a `ret_` pointer to const structs is one block that holds
 * everything in it; release it with bpfleet_free(). Strings in it are never NULL ("" if there is
 * nothing to say). Handles (bpfleet, bpfleet_dump) have their own close function. Inputs are read
 * during the call only.
 *
 * Threads. One struct bpfleet may be used by several threads at once; each call blocks only its own
 * thread. Blocks and dump handles belong to one thread at a time. The library keeps threads of its
 * own while a handle is open, installs no signal handler, and never prints or exits.
 *
 * Names. Instances: an id, a label, or `instances/ID`. Maps: `INSTANCE/MAP` or
 * `instances/ID/maps/NAME`. Programs: `INSTANCE/PROGRAM` or `instances/ID/programs/NAME`. Links: an
 * id or `links/ID`. Bundles: `NAME`, `NAME@VERSION`, or either after `bundles/`. Hooks: the text
 * form, "xdp:eth0". Times are UTC nanoseconds.
 *
 * Versions. Structs that a caller fills begin with `size`; set it with their _INIT macro, so that
 * an older program works with a newer library. A size of 0 is refused, and so is an option that is
 * set and that an older library does not know. Structs that the library fills grow at their end
 * only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BPFLEET_API __attribute__((visibility("default")))
#else
#define BPFLEET_API
#endif

/* "0.1.0", of the library. */
BPFLEET_API const char *bpfleet_version(void);

/* ---- errors */

/* The status of a failed call, numbered as gRPC does. */
enum bpfleet_status_code {
	BPFLEET_OK = 0,
	BPFLEET_CANCELLED = 1,
	BPFLEET_UNKNOWN = 2,
	BPFLEET_INVALID_ARGUMENT = 3,
	BPFLEET_DEADLINE_EXCEEDED = 4,
	BPFLEET_NOT_FOUND = 5,
	BPFLEET_ALREADY_EXISTS = 6,
	BPFLEET_PERMISSION_DENIED = 7,
	BPFLEET_RESOURCE_EXHAUSTED = 8,
	BPFLEET_FAILED_PRECONDITION = 9,
	BPFLEET_ABORTED = 10,
	BPFLEET_OUT_OF_RANGE = 11,
	BPFLEET_UNIMPLEMENTED = 12,
	BPFLEET_INTERNAL = 13,
	BPFLEET_UNAVAILABLE = 14,
	BPFLEET_DATA_LOSS = 15,
	BPFLEET_UNAUTHENTICATED = 16,
};

/* Filled whenever a function fails. Strings are terminated and cut to fit. */
struct bpfleet_error {
	enum bpfleet_status_code code;
	/* The same call may succeed later without anybody changing anything. */
	bool retryable;
	/* Stable name of the cause, "HOOK_BUSY"; the reasons are listed in docs/cli.md. */
	char reason[48];
	/* One sentence for people, without a newline. */
	char message[1024];
};

/* ---- memory and connections */

/* Releases a block that a `ret_` pointer gave. Accepts NULL. */
BPFLEET_API void bpfleet_free(const void *block);

struct bpfleet;

struct bpfleet_open_options {
	size_t size;
	/* Path of the daemon's socket; NULL: $BPFLEET_SOCKET, or else /run/bpfleet/bpfleet.sock. */
	const char *socket_path;
	/*
	 * How long a call may take, connecting included, and how long a push or a dump may stand
	 * still; 0: 30 seconds. Events and watches have no limit.
	 */
	uint32_t timeout_ms;
};
#define BPFLEET_OPEN_OPTIONS_INIT                         \
	{                                                 \
		sizeof(struct bpfleet_open_options), 0, 0 \
	}

/*
 * Connects to the daemon. options may be NULL. Close with bpfleet_close(). Fails with UNAVAILABLE
 * when nobody answers there, PERMISSION_DENIED when the socket may not be opened.
 */
BPFLEET_API int bpfleet_open(const struct bpfleet_open_options *options, struct bpfleet **ret_node,
			     struct bpfleet_error *error);

/* Closes. No call may be under way and no dump be open on the handle. Accepts NULL. */
BPFLEET_API void bpfleet_close(struct bpfleet *node);

/*
 * Makes every call under way on the handle return CANCELLED, streams and pushes too. From any
 * thread; calls made later work again. A change whose call was cancelled may have been made: look.
 * Not for signal handlers: set a flag there, and call this from a thread.
 */
BPFLEET_API void bpfleet_cancel(struct bpfleet *node);

/* ---- objects */

enum bpfleet_durability {
	/* persistent */
	BPFLEET_DURABILITY_DEFAULT = 0,
	/* Lives on through restarts of the daemon and reboots of the host. */
	BPFLEET_DURABILITY_PERSISTENT = 1,
	/* Ends with this boot of the host. */
	BPFLEET_DURABILITY_BOOT = 2,
	/* Ends with its time limit, with the daemon, or ten seconds after this connection. */
	BPFLEET_DURABILITY_LEASE = 3,
};

enum bpfleet_instance_state {
	BPFLEET_INSTANCE_LOADING = 1,
	BPFLEET_INSTANCE_READY = 2,
	BPFLEET_INSTANCE_ATTACHED = 3,
	BPFLEET_INSTANCE_DEGRADED = 4,
	BPFLEET_INSTANCE_FAILED = 5,
	BPFLEET_INSTANCE_UNLOADING = 6,
	BPFLEET_INSTANCE_REPLACING = 7,
	BPFLEET_INSTANCE_SOAKING = 8,
};

enum bpfleet_link_state {
	BPFLEET_LINK_PENDING_TARGET = 1,
	BPFLEET_LINK_ATTACHED = 2,
	BPFLEET_LINK_TARGET_GONE = 3,
	BPFLEET_LINK_DRIFTED = 4,
	BPFLEET_LINK_DETACHED = 5,
};

enum bpfleet_access {
	BPFLEET_ACCESS_PRIVATE = 1,
	BPFLEET_ACCESS_READ = 2,
	BPFLEET_ACCESS_WRITE = 3,
};

struct bpfleet_parameter {
	const char *name;
	const char *value;
};

struct bpfleet_signer {
	const char *key_id;
	/* Name of the key in the host's trust file. */
	const char *name;
	const char *trusted_comment;
};

/* A stored bundle. */
struct bpfleet_bundle {
	/* `bundles/NAME@VERSION` */
	const char *name;
	/* BLAKE2b-512 of the file, 128 hex digits. */
	const char *digest;
	uint64_t size_bytes;
	uint64_t pushed_at_ns;
	const char *pushed_by;
	const struct bpfleet_signer *signers;
	size_t n_signers;
	const char *description;
	/* 0: never. */
	uint64_t expires_at_ns;
	uint32_t n_instances;
	/* Why a load of it would be refused today; "": it would not. */
	const char *refused_reason;
};

/* A loaded bundle. */
struct bpfleet_instance {
	/* `instances/ID` */
	const char *name;
	const char *label;
	/* "uid:1000" */
	const char *owner;
	const char *bundle;
	const struct bpfleet_parameter *parameters;
	size_t n_parameters;
	enum bpfleet_durability durability;
	enum bpfleet_instance_state state;
	/* Why the state is what it is, when it is not a good one. */
	const char *reason;
	uint64_t created_at_ns;
	uint64_t loaded_at_ns;
	/* 0: none. */
	uint64_t lease_ends_at_ns;
	uint64_t revision;
	uint32_t n_programs;
	uint32_t n_links;
	/* While it soaks: what bpfleet_rollback() would have run again, and until when (0: no end).
	 */
	const char *previous_bundle;
	uint64_t soak_ends_at_ns;
};

struct bpfleet_program {
	/* `instances/ID/programs/NAME` */
	const char *name;
	const char *type;
	/* Another after every load; 0: not loaded. */
	uint32_t kernel_id;
	uint32_t n_links;
	uint32_t verified_insns;
	/* Why an optional program was left out; "": it is loaded. */
	const char *skipped_reason;
	/* Its end, of a program that was refused; only after bpfleet_load() with validate_only. */
	const char *verifier_log;
	/* Hooks the manifest allows. */
	const char *const *hooks;
	size_t n_hooks;
};

struct bpfleet_link {
	/* `links/ID` */
	const char *name;
	const char *program;
	const char *hook;
	enum bpfleet_link_state state;
	const char *reason;
	uint32_t kernel_id;
	uint64_t attached_at_ns;
	uint64_t revision;
};

struct bpfleet_map {
	/* `instances/ID/maps/NAME` */
	const char *name;
	const char *type;
	uint32_t key_size;
	/* Of one value; see n_cpus. */
	uint32_t value_size;
	uint32_t max_entries;
	enum bpfleet_access access;
	/* 0, or a value is that many values, each padded to a multiple of 8 bytes. */
	uint32_t n_cpus;
	uint32_t kernel_id;
	bool durable;
	bool frozen;
};

/* Bytes of one value as lookups, dumps and their callers exchange it. */
static inline size_t bpfleet_map_value_bytes(const struct bpfleet_map *map)
{
	return map->n_cpus == 0
		       ? map->value_size
		       : (size_t)map->n_cpus * ((map->value_size + (size_t)7) & ~(size_t)7);
}

/* ---- bundles */

struct bpfleet_push_options {
	size_t size;
	/* Called after every chunk, on the calling thread; may be NULL. */
	void (*progress)(uint64_t sent_bytes, uint64_t size_bytes, void *user_data);
	void *user_data;
};
#define BPFLEET_PUSH_OPTIONS_INIT                         \
	{                                                 \
		sizeof(struct bpfleet_push_options), 0, 0 \
	}

/* A detached minisign signature: the content of a .minisig file. */
struct bpfleet_signature {
	const void *bytes;
	size_t size;
};

/*
 * Stores a signed bundle with the daemon. A push that broke off is resumed where it stopped, also
 * by another process of the same user within ten minutes. Pushing the same bytes again is no error.
 * options may be NULL. Free *ret_bundle with bpfleet_free(). Fails with BUNDLE_UNSIGNED,
 * SIGNATURE_INVALID, SIGNER_UNTRUSTED, SIGNATURE_THRESHOLD and the other reasons of verification.
 */
BPFLEET_API int bpfleet_push(struct bpfleet *node, const void *bytes, size_t size,
			     const struct bpfleet_signature *signatures, size_t n_signatures,
			     const struct bpfleet_push_options *options,
			     const struct bpfleet_bundle **ret_bundle, struct bpfleet_error *error);

/*
 * The same for a file and signature files. With no signature paths, PATH.minisig and every
 * PATH.*.minisig beside it.
 */
BPFLEET_API int bpfleet_push_file(struct bpfleet *node, const char *path,
				  const char *const *signature_paths, size_t n_signature_paths,
				  const struct bpfleet_push_options *options,
				  const struct bpfleet_bundle **ret_bundle,
				  struct bpfleet_error *error);

/* All stored bundles that the caller may see. Free *ret_bundles with bpfleet_free(). */
BPFLEET_API int bpfleet_list_bundles(struct bpfleet *node,
				     const struct bpfleet_bundle **ret_bundles, size_t *ret_n,
				     struct bpfleet_error *error);

/* One bundle; without a version, the highest. Fails with NOT_FOUND. */
BPFLEET_API int bpfleet_get_bundle(struct bpfleet *node, const char *bundle,
				   const struct bpfleet_bundle **ret_bundle,
				   struct bpfleet_error *error);

/* Removes a bundle that no instance uses. Fails with BUNDLE_IN_USE, NOT_FOUND. */
BPFLEET_API int bpfleet_remove_bundle(struct bpfleet *node, const char *bundle,
				      struct bpfleet_error *error);

/* ---- instances */

struct bpfleet_load_options {
	size_t size;
	const struct bpfleet_parameter *parameters;
	size_t n_parameters;
	enum bpfleet_durability durability;
	/* Unique among the owner's instances; NULL: none. */
	const char *label;
	/* With a lease: how long it lives at most, nanoseconds; 0: until this connection goes. */
	uint64_t lease_ttl_ns;
	/* A real run of the verifier, nothing is kept. */
	bool validate_only;
	/*
	 * Also attach the programs to their default hooks, all or nothing. HOOK_NOT_ALLOWED where
	 * one of them is a uprobe: attach those with bpfleet_attach().
	 */
	bool attach_defaults;
};
#define BPFLEET_LOAD_OPTIONS_INIT                                                            \
	{                                                                                    \
		sizeof(struct bpfleet_load_options), 0, 0, BPFLEET_DURABILITY_DEFAULT, 0, 0, \
			false, false                                                         \
	}

#define BPFLEET_LEASE_TOKEN_BYTES 32

/* What a load made. */
struct bpfleet_loaded {
	/* NULL with validate_only. */
	const struct bpfleet_instance *instance;
	const struct bpfleet_program *programs;
	size_t n_programs;
	const struct bpfleet_link *links;
	size_t n_links;
	/* Zero bytes unless the instance is a lease; what bpfleet_keep_lease() shows. */
	uint8_t lease_token[BPFLEET_LEASE_TOKEN_BYTES];
};

/*
 * Loads a bundle: its programs are in the kernel, attached to nothing unless attach_defaults says
 * so. Durable when it returns. options may be NULL. Free *ret_loaded with bpfleet_free(). Fails
 * with NOT_FOUND, INVALID_PARAMETER, LABEL_IN_USE, VERIFIER_REJECTED, PERMISSION_DENIED and others.
 */
BPFLEET_API int bpfleet_load(struct bpfleet *node, const char *bundle,
			     const struct bpfleet_load_options *options,
			     const struct bpfleet_loaded **ret_loaded, struct bpfleet_error *error);

/* ---- versions: docs/replace.md says what is guaranteed */

struct bpfleet_replace_options {
	size_t size;
	/* Those that are not given keep their values, unless forget_parameters. */
	const struct bpfleet_parameter *parameters;
	size_t n_parameters;
	bool forget_parameters;
	/* Names of maps that start empty, whatever the manifest says of them. */
	const char *const *reset_maps;
	size_t n_reset_maps;
	/* How long the version before is kept, nanoseconds; 0: until commit or rollback. */
	uint64_t soak_ns;
	/* A real run of the verifier with the maps that would be kept; nothing changes. */
	bool validate_only;
};
#define BPFLEET_REPLACE_OPTIONS_INIT                                                \
	{                                                                           \
		sizeof(struct bpfleet_replace_options), 0, 0, false, 0, 0, 0, false \
	}

/* What became of a map. */
enum bpfleet_map_outcome {
	BPFLEET_MAP_KEPT = 1, /* both versions use it */
	BPFLEET_MAP_RESET = 2,
	BPFLEET_MAP_MIGRATED = 3, /* a new one, with the entries of the old one */
	BPFLEET_MAP_ADDED = 4,
	BPFLEET_MAP_REMOVED = 5,
};

struct bpfleet_map_replacement {
	const char *map; /* its name alone */
	enum bpfleet_map_outcome outcome;
	/* What differs between the versions; "": nothing. */
	const char *difference;
	/* Of a migrated map: entries; those written meanwhile; and how long that was. */
	uint64_t n_entries;
	uint64_t n_merged;
	uint64_t window_ns;
};

struct bpfleet_replaced {
	const struct bpfleet_instance *instance;
	const struct bpfleet_link *links;
	size_t n_links;
	const struct bpfleet_map_replacement *maps;
	size_t n_maps;
};

/*
 * Has an instance run another version of its bundle, or the same one with other parameters, with
 * no event unseen. The version before is kept until bpfleet_commit() or the end of the soak time.
 * options may be NULL. Free *ret_replaced with bpfleet_free(); ret_replaced may be NULL. Fails with
 * REPLACE_REFUSED, LINK_DRIFTED, INVALID_PARAMETER, VERIFIER_REJECTED, also with validate_only, and
 * others; then everything is as it was.
 */
BPFLEET_API int bpfleet_replace(struct bpfleet *node, const char *instance, const char *bundle,
				const struct bpfleet_replace_options *options,
				const struct bpfleet_replaced **ret_replaced,
				struct bpfleet_error *error);

/* Has it run the version before again, or gives that up. Fail with REPLACE_REFUSED if none is kept.
 */
BPFLEET_API int bpfleet_rollback(struct bpfleet *node, const char *instance,
				 struct bpfleet_error *error);
BPFLEET_API int bpfleet_commit(struct bpfleet *node, const char *instance,
			       struct bpfleet_error *error);

/* Attaches a program of an instance to a hook ("xdp:eth0"). Free *ret_link with bpfleet_free(). */
BPFLEET_API int bpfleet_attach(struct bpfleet *node, const char *instance, const char *program,
			       const char *hook, const struct bpfleet_link **ret_link,
			       struct bpfleet_error *error);

/*
 * Attaches a program to a socket of the caller's own ("socket_filter:udp", "sk_reuseport:tcp"). No
 * link comes of it: the program stays on the socket until the socket is closed everywhere, or until
 * its owner takes it off with setsockopt(2), SO_DETACH_FILTER or SO_DETACH_REUSEPORT_BPF; another
 * one attached replaces it. Unload does not reach it. Fails with INVALID_ARGUMENT if the socket is
 * not of the kind that the hook says.
 */
BPFLEET_API int bpfleet_attach_socket(struct bpfleet *node, const char *instance,
				      const char *program, const char *hook, int socket,
				      struct bpfleet_error *error);

/* Detaches one link, also one whose target is gone. */
BPFLEET_API int bpfleet_detach(struct bpfleet *node, const char *link, struct bpfleet_error *error);

/* Detaches every link of an instance and removes it. */
BPFLEET_API int bpfleet_unload(struct bpfleet *node, const char *instance,
			       struct bpfleet_error *error);

/*
 * Binds a lease to this connection, after the one that made it was lost. ret_ends_at_ns may be
 * NULL; 0 means until the connection goes. Fails with LEASE_TOKEN_INVALID, NOT_FOUND.
 */
BPFLEET_API int bpfleet_keep_lease(struct bpfleet *node, const char *instance,
				   const uint8_t token[BPFLEET_LEASE_TOKEN_BYTES],
				   uint64_t *ret_ends_at_ns, struct bpfleet_error *error);

/*
 * What there is. `bundle` and `instance` narrow the list; NULL: everything. An empty list is a
 * success with *ret_n = 0 and still a block to free.
 */
BPFLEET_API int bpfleet_list_instances(struct bpfleet *node, const char *bundle,
				       const struct bpfleet_instance **ret_instances, size_t *ret_n,
				       struct bpfleet_error *error);
BPFLEET_API int bpfleet_list_programs(struct bpfleet *node, const char *instance,
				      const struct bpfleet_program **ret_programs, size_t *ret_n,
				      struct bpfleet_error *error);
BPFLEET_API int bpfleet_list_links(struct bpfleet *node, const char *instance,
				   const struct bpfleet_link **ret_links, size_t *ret_n,
				   struct bpfleet_error *error);
BPFLEET_API int bpfleet_list_maps(struct bpfleet *node, const char *instance,
				  const struct bpfleet_map **ret_maps, size_t *ret_n,
				  struct bpfleet_error *error);

/* One object. Fail with NOT_FOUND, also for what the caller may not see. */
BPFLEET_API int bpfleet_get_instance(struct bpfleet *node, const char *instance,
				     const struct bpfleet_instance **ret_instance,
				     struct bpfleet_error *error);
BPFLEET_API int bpfleet_get_program(struct bpfleet *node, const char *program,
				    const struct bpfleet_program **ret_program,
				    struct bpfleet_error *error);
BPFLEET_API int bpfleet_get_link(struct bpfleet *node, const char *link,
				 const struct bpfleet_link **ret_link, struct bpfleet_error *error);
BPFLEET_API int bpfleet_get_map(struct bpfleet *node, const char *map,
				const struct bpfleet_map **ret_map, struct bpfleet_error *error);

/* ---- maps */

/*
 * Reads one key into value, which holds exactly bpfleet_map_value_bytes(). Fails with
 * KEY_NOT_IN_MAP, MAP_PRIVATE, and INVALID_ARGUMENT when the sizes are not the map's.
 */
BPFLEET_API int bpfleet_map_lookup(struct bpfleet *node, const char *map, const void *key,
				   size_t key_size, void *value, size_t value_size,
				   struct bpfleet_error *error);

/*
 * Reads n_keys keys in few calls. keys holds n_keys * key_size bytes, values n_keys * value_size;
 * ret_found (n_keys booleans) says which of them the map has, values of the others are zeroed.
 */
BPFLEET_API int bpfleet_map_lookup_many(struct bpfleet *node, const char *map, const void *keys,
					size_t key_size, size_t n_keys, void *values,
					size_t value_size, bool *ret_found,
					struct bpfleet_error *error);

/* Writes one entry of a map with a writer; a per-CPU map takes one value for all CPUs. */
BPFLEET_API int bpfleet_map_update(struct bpfleet *node, const char *map, const void *key,
				   size_t key_size, const void *value, size_t value_size,
				   struct bpfleet_error *error);

/*
 * Writes n entries in few calls. keys holds n * key_size bytes, values n * value_size. A call takes
 * up to 1,024 entries, all or none of which are written; *ret_written (which may be NULL) says how
 * many are, also after a failure.
 */
BPFLEET_API int bpfleet_map_update_many(struct bpfleet *node, const char *map, const void *keys,
					size_t key_size, const void *values, size_t value_size,
					size_t n, size_t *ret_written, struct bpfleet_error *error);

/*
 * Puts a socket of the caller's own into a sockmap, sockhash, reuseport_sockarray or xskmap with a
 * writer. The kernel takes it out again when the socket is closed. INVALID_ARGUMENT if the map
 * takes no such socket.
 */
BPFLEET_API int bpfleet_map_put_socket(struct bpfleet *node, const char *map, const void *key,
				       size_t key_size, int socket, struct bpfleet_error *error);

/* Deletes one key of a map with a writer; KEY_NOT_IN_MAP if it was not there. */
BPFLEET_API int bpfleet_map_delete(struct bpfleet *node, const char *map, const void *key,
				   size_t key_size, struct bpfleet_error *error);

/*
 * Deletes n keys in few calls; keys holds n * key_size bytes. Those that are not there are no
 * error: *ret_deleted (which may be NULL) says how many were, also after a failure.
 */
BPFLEET_API int bpfleet_map_delete_many(struct bpfleet *node, const char *map, const void *keys,
					size_t key_size, size_t n, size_t *ret_deleted,
					struct bpfleet_error *error);

/*
 * An fd of a frozen map, close(2) it: bpf(2) lookups at the kernel's speed, and of an array with
 * BPF_F_MMAPABLE a read-only mmap(PROT_READ, MAP_SHARED). Nothing can be written through it. Fails
 * with MAP_NOT_FREEZABLE for a map that is not frozen (read it over the API), MAP_PRIVATE.
 */
BPFLEET_API int bpfleet_open_map(struct bpfleet *node, const char *map, int *ret_fd,
				 struct bpfleet_error *error);

struct bpfleet_dump;

/* One entry of a dump; the pointers are good until the next bpfleet_dump_next() or the close. */
struct bpfleet_entry {
	const void *key;
	size_t key_size;
	const void *value;
	size_t value_size;
	/* {"key": ..., "value": ...} where the dump was opened with as_json, else "". */
	const char *json;
};

/*
 * Starts reading all entries of a map. Not a snapshot: entries that change meanwhile show either
 * value. With as_json the entries are JSON made by the map's types, without key and value bytes.
 * Close with bpfleet_dump_close(), also before the end.
 */
BPFLEET_API int bpfleet_dump_open(struct bpfleet *node, const char *map, bool as_json,
				  struct bpfleet_dump **ret_dump, struct bpfleet_error *error);

/* The next entry: 1 and *ret_entry, 0 at the end, or a negative errno. */
BPFLEET_API int bpfleet_dump_next(struct bpfleet_dump *dump, struct bpfleet_entry *ret_entry,
				  struct bpfleet_error *error);

/* Ends the dump. Accepts NULL. */
BPFLEET_API void bpfleet_dump_close(struct bpfleet_dump *dump);

/*
 * Calls a program of type syscall once. The context, at most 65,535 bytes and NULL if there is
 * none, is read and then written as the program left it.
 */
BPFLEET_API int bpfleet_call(struct bpfleet *node, const char *program, void *context,
			     size_t context_size, uint32_t *ret_value, struct bpfleet_error *error);

/* ---- streams */

/*
 * Runs the program of an iterator's link once over all that it is about, and calls on_data for what
 * it prints, in pieces that end anywhere, until on_data returns other than 0.
 */
BPFLEET_API int bpfleet_read(struct bpfleet *node, const char *link,
			     int (*on_data)(const void *data, size_t size, void *user_data),
			     void *user_data, struct bpfleet_error *error);

/* One record of a ring buffer or perf buffer; everything in it is good during the callback only. */
struct bpfleet_event {
	/* `instances/ID/maps/NAME` */
	const char *map;
	/* Within this call and map, from 0; a gap was lost on the way. */
	uint64_t sequence;
	/* The record as the program wrote it (NULL with as_json). */
	const void *data;
	size_t size;
	/* With as_json the record by its type, else "". */
	const char *json;
	uint64_t received_at_ns;
	/* So far: records that this subscriber was too slow for. */
	uint64_t subscriber_lost;
	/* Records that found the buffer full, of a ring buffer since the load, of a perf buffer so
	 * far; valid if kernel_lost_known. */
	uint64_t kernel_lost;
	bool kernel_lost_known;
	/* So far: records that the daemon could not keep for anybody. */
	uint64_t front_lost;
	/* Records that waited in the ring before anybody subscribed; valid if unobserved_known. */
	uint64_t unobserved;
	bool unobserved_known;
	/* So far: records that the choice left out, in the order it is made. */
	uint64_t filtered_out;
	uint64_t sampled_out;
	uint64_t rate_limited;
};

/* Which events come, and how. Zeroed: all, packed. */
struct bpfleet_event_choice {
	bool as_json;
	/* `pid == 1234 && comm != "sh"`, see docs/events.md; NULL: all */
	const char *filter;
	/* Of those one in so many; 0 and 1: all. */
	uint32_t sample_every;
	/* Of those, for each map, at most so many in a second; 0: no limit. */
	uint32_t max_per_second;
};

/*
 * Calls on_event for every event of an instance, or of one of its maps, from now on, on the calling
 * thread. Returns 0 when on_event returned other than 0, else when the stream failed or
 * bpfleet_cancel() was called. on_event with a NULL event says, once, that the subscription stands.
 */
BPFLEET_API int bpfleet_events(struct bpfleet *node, const char *source, bool as_json,
			       int (*on_event)(const struct bpfleet_event *event, void *user_data),
			       void *user_data, struct bpfleet_error *error);
/* The same for some events only: what is left out is left out by the daemon, and not sent. */
BPFLEET_API int bpfleet_events_chosen(struct bpfleet *node, const char *source,
				      const struct bpfleet_event_choice *choice,
				      int (*on_event)(const struct bpfleet_event *event,
						      void *user_data),
				      void *user_data, struct bpfleet_error *error);

/* One change of the node; one of the pointers is set, none when `synced`. */
struct bpfleet_change {
	uint64_t revision;
	/* What was there at the start has been told; changes follow. */
	bool synced;
	/* It is gone; only its name is set. */
	bool deleted;
	const struct bpfleet_bundle *bundle;
	const struct bpfleet_instance *instance;
	const struct bpfleet_program *program;
	const struct bpfleet_link *link;
	const struct bpfleet_map *map;
};

/*
 * Calls on_change for what is there, then for every change after it, until on_change returns other
 * than 0. since_revision 0 starts with what is there now; otherwise only changes after it, or
 * WATCH_EXPIRED when the daemon no longer keeps them.
 */
BPFLEET_API int bpfleet_watch(struct bpfleet *node, uint64_t since_revision,
			      int (*on_change)(const struct bpfleet_change *change,
					       void *user_data),
			      void *user_data, struct bpfleet_error *error);

/* ---- status and audit */

struct bpfleet_hook_support {
	const char *kind;
	bool supported;
	const char *detail;
};

struct bpfleet_status {
	const char *version;
	const char *node_id;
	const char *kernel_release;
	/* Who the caller is to the daemon: "uid:1000". */
	const char *caller;
	uint64_t started_at_ns;
	uint64_t revision;
	uint64_t audit_sequence;
	uint32_t n_bundles;
	uint32_t n_instances;
	uint32_t n_programs;
	uint32_t n_links;
	uint32_t n_orphan_pins;
	const struct bpfleet_hook_support *hooks;
	size_t n_hooks;
	/* What is wrong with the host now, for people. */
	const char *const *alarms;
	size_t n_alarms;
};

BPFLEET_API int bpfleet_get_status(struct bpfleet *node, const struct bpfleet_status **ret_status,
				   struct bpfleet_error *error);

struct bpfleet_audit_row {
	uint64_t sequence;
	uint64_t at_ns;
	const char *identity;
	const char *verb;
	const char *object;
	/* 128 hex digits, "" where no bundle is concerned. */
	const char *digest;
	const char *signers;
	/* "ok", "denied", "failed", "unknown" */
	const char *outcome;
	const char *reason;
	const char *detail;
	uint64_t duration_ns;
	uint32_t count;
};

struct bpfleet_audit_query {
	size_t size;
	/* Each NULL or 0: any. */
	const char *identity;
	const char *verb;
	const char *object;
	const char *outcome;
	uint64_t since_ns;
	uint64_t until_ns;
	/* At most this many rows; 0: all. */
	size_t limit;
	bool newest_first;
};
#define BPFLEET_AUDIT_QUERY_INIT                                               \
	{                                                                      \
		sizeof(struct bpfleet_audit_query), 0, 0, 0, 0, 0, 0, 0, false \
	}

/* Audit rows, oldest first unless asked otherwise. query may be NULL. Free with bpfleet_free(). */
BPFLEET_API int bpfleet_query_audit(struct bpfleet *node, const struct bpfleet_audit_query *query,
				    const struct bpfleet_audit_row **ret_rows, size_t *ret_n,
				    struct bpfleet_error *error);

#ifdef __cplusplus
}
#endif
