/*
 * Hooks: what a program attaches to, in one grammar, `KIND:TARGET[:ARG][,key=value...]`, and one
 * canonical text form (docs/naming.md; the vectors are in hook-vectors.txt). A pattern is a hook in
 * which a bare `*` stands for any run of bytes; manifests bound a program's hooks by patterns.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct arena;
struct error;
struct hook;

enum hook_kind {
	HOOK_XDP = 0,
	HOOK_TC,
	HOOK_CGROUP_SKB,
	HOOK_TRACEPOINT,
	HOOK_RAW_TP,
	HOOK_TP_BTF,
	HOOK_UPROBE,
	HOOK_URETPROBE,
	HOOK_USDT,
	HOOK_KPROBE,
	HOOK_KRETPROBE,
	HOOK_KSYSCALL,
	HOOK_KRETSYSCALL,
	HOOK_KPROBE_MULTI,
	HOOK_KRETPROBE_MULTI,
	HOOK_FENTRY,
	HOOK_FEXIT,
	HOOK_FMOD_RET,
	HOOK_LSM,
	HOOK_LSM_CGROUP,
	HOOK_PERF_EVENT,
	HOOK_ITER,
	HOOK_STRUCT_OPS,
	HOOK_CGROUP_SOCK,
	HOOK_CGROUP_SOCK_ADDR,
	HOOK_CGROUP_SOCKOPT,
	HOOK_CGROUP_DEVICE,
	HOOK_CGROUP_SYSCTL,
	HOOK_SOCK_OPS,
	HOOK_SK_LOOKUP,
	HOOK_FLOW_DISSECTOR,
	HOOK_NETFILTER,
	HOOK_SK_SKB,
	HOOK_SK_MSG,
	HOOK_NETKIT,
	HOOK_KPROBE_SESSION,
	HOOK_UPROBE_SESSION,
	HOOK_SOCKET_FILTER,
	HOOK_SK_REUSEPORT,
	HOOK_N_KINDS,
};

/* What a part of a hook may hold. */
enum hook_form {
	HOOK_FORM_NONE = 0,
	HOOK_FORM_INTERFACE, /* 1..15 bytes without `/`, `:` and white space */
	HOOK_FORM_PATH,	     /* absolute, no empty, `.` or `..` component, at most 4,095 bytes */
	HOOK_FORM_EVENT,     /* a kernel event or category: letters, digits and `_` */
	HOOK_FORM_SYMBOL,    /* an ELF symbol, or symbol+OFFSET, at most 511 bytes */
	HOOK_FORM_PID,	     /* 1..4194304 */
	HOOK_FORM_WORD,	     /* one of a list of words */
	HOOK_FORM_NUMBER,    /* 0..4294967295, decimal */
	HOOK_FORM_MAP,	     /* a map of the instance: a C identifier or a section's name */
	HOOK_FORM_PROBE,     /* PROVIDER:NAME of a USDT probe; here `:` stays bare */
	HOOK_FORM_GLOBS,     /* names and globs joined by `|`; here `*` stays bare */
	HOOK_FORM_PRIORITY,  /* 0..65535; lower runs first */
	HOOK_FORM_INTEGER,   /* a signed number of 32 bits; lower runs first */
	HOOK_FORM_NETNS,     /* a network namespace: absolute path, or id of a process in it */
	HOOK_FORM_OWN_NETNS, /* the same, or "self": the daemon's */
};

#define HOOK_OPTIONS_MAX 4

struct hook_option_info {
	const char *key;
	enum hook_form form;
	const char *words; /* of HOOK_FORM_WORD: "native|generic" */
};

/* One row of the table of kinds. */
struct hook_kind_info {
	const char *name; /* "tc" */
	/* Kernel's name of the type of program, "sched_cls", or several joined by `|`. */
	const char *program_type;
	const char *target; /* what the target is: "IFNAME" */
	enum hook_form target_form;
	const char *target_words;	  /* of HOOK_FORM_WORD */
	struct hook_option_info argument; /* the positional one; key NULL if the kind has none */
	struct hook_option_info options[HOOK_OPTIONS_MAX]; /* ends at a NULL key */
	const char *usage;				   /* "tc:IFNAME:ingress|egress" */
	bool resolved; /* the target is a file in which a symbol or a probe is looked up */
	bool socket;   /* the target says of what kind the socket is that a client hands over */
};

#define HOOK_TEXT_MAX 16384
#define HOOK_TARGET_MAX 4095
#define HOOK_SYMBOL_MAX 511

/* The row of a kind below HOOK_N_KINDS. */
const struct hook_kind_info *hook_kind_info(enum hook_kind kind);
/* Whether programs of this type may be attached to hooks of a kind. */
bool hook_kind_takes(const struct hook_kind_info *info, const char *program_type);
/* NULL if there is a use for programs of this type; else why there is none, to follow their name.
 */
const char *hook_type_refusal(const char *program_type);
/* The kind of a name; false if there is none. */
bool hook_kind_from_name(const char *name, enum hook_kind *ret);

/*
 * New from text; free with hook_free(). A positional argument is required where the kind has one.
 * Errors: INVALID_HOOK, saying what is wrong and what is expected; OUT_OF_MEMORY.
 */
_must_check_ int hook_parse(const char *text, struct hook **ret, struct error *err);
/* The same for a pattern: `*` matches, and the positional argument may be left out. */
_must_check_ int hook_parse_pattern(const char *text, struct hook **ret, struct error *err);
/* From a message, whose options may come in any order. Errors as hook_parse(). */
_must_check_ int hook_from_message(const Bpfleet__V1__Hook *message, struct hook **ret,
				   struct error *err);
/* As a message in the arena. Not for patterns. Errors: OUT_OF_MEMORY. */
_must_check_ int hook_to_message(const struct hook *hook, struct arena *arena,
				 Bpfleet__V1__Hook **ret, struct error *err);
void hook_free(struct hook *hook);
DEFINE_CLEANUP(struct hook, hook_free)

/* What the getters return lives as long as the hook. */
enum hook_kind hook_kind(const struct hook *hook);
/* The target, unescaped; it holds no NUL. Of a pattern: escaped. */
const char *hook_target(const struct hook *hook);
/*
 * The selector that stands for the target ("@default-route", "@driver/veth", "@label/uplink", a
 * glob "eth*"), NULL if the hook has a target. hook_target() of such a hook is the selector's text.
 */
const char *hook_selector(const struct hook *hook);
/* Whether a glob selects the interface; false for the selectors that begin with '@'. */
bool hook_selects(const struct hook *selector, const char *name);
/* New: the same hook with that interface as its target. Errors as hook_from_message(). */
_must_check_ int hook_select(const struct hook *selector, const char *name, struct hook **ret,
			     struct error *err);
/* The positional argument, unescaped ("ingress", the symbol with its "+0x10"); NULL if none. */
const char *hook_argument(const struct hook *hook);
/* The value of another option, NULL if it is not given. */
const char *hook_option(const struct hook *hook, const char *key);
/*
 * The network namespace that the hook is in, as a path or the id of a process; NULL: the daemon's
 * own, or none at all.
 */
const char *hook_netns(const struct hook *hook);
/* The canonical text. */
const char *hook_text(const struct hook *hook);

bool hook_equal(const struct hook *a, const struct hook *b);

/*
 * Whether a hook is within a pattern: same kind, target and argument match, and every option that
 * the pattern states is there and matches. What a pattern leaves out, it does not restrict. Of a
 * hook with a selector everything but the target is compared: what it selects is to be compared by
 * itself.
 */
bool hook_matches(const struct hook *pattern, const struct hook *hook);

/* Splits "symbol+0x10" of a uprobe's argument; symbol must hold HOOK_SYMBOL_MAX + 1 bytes. */
void hook_split_symbol(const char *argument, char *symbol, uint64_t *ret_offset);
