#define _GNU_SOURCE
#include "bundle/hook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/hook-part.h"
#include "proto/arena.h"

struct hook {
	enum hook_kind kind;
	bool selects; /* the target is a selector: only target.escaped is set */
	struct hook_part target;
	struct hook_part argument;		    /* empty if it is not given */
	struct hook_part options[HOOK_OPTIONS_MAX]; /* in the table's order; empty if not given */
	char *text;
};

#define KIND_NAME_MAX 31

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a hook");
}

static bool is_given(const struct hook_part *part)
{
	return part->escaped != NULL;
}

static const struct hook_kind_info *info_of(const struct hook *hook)
{
	return hook_kind_info(hook->kind);
}

static int unknown_kind(const char *name, struct error *err)
{
	static const struct {
		const char *wrong, *right;
	} aliases[] = {
		{ "tcx", "tc" },
		{ "clsact", "tc" },
		{ "cgroup", "cgroup_skb" },
		{ "tp", "tracepoint" },
		{ "raw_tracepoint", "raw_tp" },
		{ "kprobe.multi", "kprobe_multi" },
		{ "kretprobe.multi", "kretprobe_multi" },
		{ "perf", "perf_event" },
	};
	const char *guess = NULL;
	unsigned int best = 3;

	for (unsigned int i = 0; i < HOOK_N_KINDS; i++) {
		const char *candidate = hook_kind_info((enum hook_kind)i)->name;
		unsigned int distance = str_distance(name, candidate);

		if (distance < best && distance < strlen(candidate)) {
			best = distance;
			guess = candidate;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(aliases); i++) {
		if (strcmp(name, aliases[i].wrong) == 0)
			guess = aliases[i].right;
	}
	if (guess != NULL)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "no kind of hook is called '%s'; did you mean '%s'?", name,
				   guess);
	return error_raise(err, ERROR_INVALID_HOOK,
			   "no kind of hook is called '%s': `bpfleet features` lists what there is",
			   name);
}

static int parse_kind(struct hook *hook, const char *text, size_t n, struct error *err)
{
	struct str shown = { 0 };
	char name[KIND_NAME_MAX + 1];
	int r;

	if (n <= KIND_NAME_MAX && memchr(text, '\0', n) == NULL) {
		memcpy(name, text, n);
		name[n] = '\0';
		if (hook_kind_from_name(name, &hook->kind))
			return 0;
	}
	(void)str_append_escaped(&shown, text, n < KIND_NAME_MAX ? n : KIND_NAME_MAX);
	r = unknown_kind(shown.data != NULL ? shown.data : "", err);
	str_done(&shown);
	return r;
}

/* The slot of an option by its key, NULL if the kind has none of that name. */
static struct hook_part *option_slot(struct hook *hook, const char *key,
				     const struct hook_option_info **ret_info)
{
	const struct hook_kind_info *info = info_of(hook);

	for (size_t i = 0; i < HOOK_OPTIONS_MAX && info->options[i].key != NULL; i++) {
		if (strcmp(info->options[i].key, key) == 0) {
			*ret_info = &info->options[i];
			return &hook->options[i];
		}
	}
	if (info->argument.key != NULL && strcmp(info->argument.key, key) == 0) {
		*ret_info = &info->argument;
		return &hook->argument;
	}
	return NULL;
}

static int find_slot(struct hook *hook, const char *key, size_t n, struct hook_part **ret,
		     const struct hook_option_info **ret_info, struct error *err)
{
	struct str shown = { 0 };
	char name[KIND_NAME_MAX + 1] = "";
	int r;

	if (n <= KIND_NAME_MAX) {
		memcpy(name, key, n);
		*ret = option_slot(hook, name, ret_info);
		if (*ret != NULL && !is_given(*ret))
			return 0;
	}
	(void)str_append_escaped(&shown, key, n < KIND_NAME_MAX ? n : KIND_NAME_MAX);
	if (n <= KIND_NAME_MAX && *ret != NULL)
		r = error_raise(err, ERROR_INVALID_HOOK, "'%s' is given twice", shown.data);
	else
		r = error_raise(err, ERROR_INVALID_HOOK, "there is no option '%s': expected %s",
				shown.data != NULL ? shown.data : "", info_of(hook)->usage);
	str_done(&shown);
	return r;
}

static int settle_option(struct hook_part *part, const struct hook_option_info *info,
			 struct error *err)
{
	return hook_part_settle(part, info->form, info->words, info->key, err);
}

/* One "key=value". */
static int parse_option(struct hook *hook, const char *text, size_t n, bool is_pattern,
			struct error *err)
{
	const char *equals = memchr(text, '=', n);
	const struct hook_option_info *info = NULL;
	struct hook_part *part = NULL;
	size_t n_key;
	int r;

	if (equals == NULL)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "an option is written key=value: expected %s",
				   info_of(hook)->usage);
	n_key = (size_t)(equals - text);
	r = find_slot(hook, text, n_key, &part, &info, err);
	if (r < 0)
		return r;
	if (part == &hook->argument)
		return error_raise(err, ERROR_INVALID_HOOK, "the %s has its own place: expected %s",
				   info->key, info_of(hook)->usage);
	if (memchr(equals + 1, '=', n - n_key - 1) != NULL)
		return error_raise(err, ERROR_INVALID_HOOK, "'=' within a value is written %%3D");
	r = hook_part_read(part, equals + 1, n - n_key - 1, is_pattern, info->form, err);
	return r < 0 ? r : settle_option(part, info, err);
}

/* "@default-route", or "@driver/" or "@label/" and a name. */
static bool is_word_selector(const char *text, size_t n)
{
	static const char *const prefixes[] = { "@driver/", "@label/" };
	static const char route[] = "@default-route";

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		const size_t n_prefix = strlen(prefixes[i]);

		if (n > n_prefix && n <= n_prefix + 63 && memcmp(text, prefixes[i], n_prefix) == 0)
			return strspn(text + n_prefix,
				      "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n - n_prefix;
	}
	return n == sizeof(route) - 1 && memcmp(text, route, n) == 0;
}

static int parse_selector(struct hook *hook, const char *text, size_t n, struct error *err)
{
	char word[80];

	hook->selects = true;
	if (text[0] != '@')
		return hook_part_read(&hook->target, text, n, true, HOOK_FORM_INTERFACE, err);
	(void)snprintf(word, sizeof(word), "%.*s", (int)n, text);
	if (!is_word_selector(word, strlen(word)) || strlen(word) != n)
		return error_raise(
			err, ERROR_INVALID_HOOK,
			"there is no selector '%s': expected @default-route, @driver/NAME, "
			"@label/NAME, or a name with '*'; write %%40 for the character "
			"itself",
			word);
	hook->target.escaped = strdup(word);
	return hook->target.escaped == NULL ? out_of_memory(err) : 0;
}

static int parse_target(struct hook *hook, const char *text, size_t n, bool is_pattern,
			struct error *err)
{
	const struct hook_kind_info *info = info_of(hook);
	int r;

	if (!is_pattern && n > 0 && info->target_form == HOOK_FORM_INTERFACE &&
	    (text[0] == '@' || memchr(text, '*', n) != NULL))
		return parse_selector(hook, text, n, err);

	if (memchr(text, '=', n) != NULL)
		return error_raise(err, ERROR_INVALID_HOOK, "'=' within a target is written %%3D");
	if (n > 0 && text[0] == '@')
		return error_raise(err, ERROR_INVALID_HOOK,
				   "a target that begins with '@' is a selector, of interfaces and "
				   "in no pattern; write %%40 for the character itself");
	r = hook_part_read(&hook->target, text, n, is_pattern, info->target_form, err);
	return r < 0 ? r
		     : hook_part_settle(&hook->target, info->target_form, info->target_words,
					info->target, err);
}

static int parse_argument(struct hook *hook, const char *text, size_t n, bool is_pattern,
			  struct error *err)
{
	const struct hook_kind_info *info = info_of(hook);
	int r;

	if (info->argument.key == NULL ||
	    (memchr(text, ':', n) != NULL && info->argument.form != HOOK_FORM_PROBE))
		return error_raise(
			err, ERROR_INVALID_HOOK,
			"one ':' too many (within a part it is written %%3A): expected %s",
			info->usage);
	if (memchr(text, '=', n) != NULL)
		return error_raise(err, ERROR_INVALID_HOOK, "'=' within a part is written %%3D");
	r = hook_part_read(&hook->argument, text, n, is_pattern, info->argument.form, err);
	return r < 0 ? r : settle_option(&hook->argument, &info->argument, err);
}

/* Prints the target; a leading '@' is escaped because bare it would be a selector. */
static void append_target(struct str *s, const struct hook_part *target)
{
	bool is_at = target->escaped[0] == '@';

	(void)str_appendf(s, "%s%s", is_at ? "%40" : "", target->escaped + is_at);
}

/* Checks that nothing is missing and makes the canonical text. The table's options are sorted. */
static int finish(struct hook *hook, bool is_pattern, struct error *err)
{
	const struct hook_kind_info *info = info_of(hook);
	struct str text = { 0 };

	if (hook->selects && hook_option(hook, "netns") != NULL)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "a selector selects in the host's own network namespace");

	if (info->argument.key != NULL && !is_given(&hook->argument) && !is_pattern)
		return error_raise(err, ERROR_INVALID_HOOK, "the %s is missing: expected %s",
				   info->argument.key, info->usage);
	(void)str_appendf(&text, "%s:", info->name);
	if (hook->selects)
		(void)str_append(&text, hook->target.escaped);
	else
		append_target(&text, &hook->target);
	if (is_given(&hook->argument))
		(void)str_appendf(&text, ":%s", hook->argument.escaped);
	for (size_t i = 0; i < HOOK_OPTIONS_MAX; i++) {
		if (is_given(&hook->options[i]))
			(void)str_appendf(&text, ",%s=%s", info->options[i].key,
					  hook->options[i].escaped);
	}
	hook->text = str_take(&text);
	return hook->text == NULL ? out_of_memory(err) : 0;
}

static int parse_parts(struct hook *hook, const char *text, bool is_pattern, struct error *err)
{
	const char *p = text + strcspn(text, ":,"), *colon;
	size_t n;
	int r;

	r = parse_kind(hook, text, (size_t)(p - text), err);
	if (r < 0)
		return r;
	if (*p != ':')
		return error_raise(err, ERROR_INVALID_HOOK, "the target is missing: expected %s",
				   info_of(hook)->usage);
	n = strcspn(++p, ",");
	colon = memchr(p, ':', n);
	r = parse_target(hook, p, colon != NULL ? (size_t)(colon - p) : n, is_pattern, err);
	if (r == 0 && colon != NULL)
		r = parse_argument(hook, colon + 1, (size_t)(p + n - colon - 1), is_pattern, err);
	for (p += n; r == 0 && *p == ','; p += n) {
		n = strcspn(++p, ",");
		r = parse_option(hook, p, n, is_pattern, err);
	}
	return r < 0 ? r : finish(hook, is_pattern, err);
}

static int parse(const char *text, bool is_pattern, struct hook **ret, struct error *err)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	struct str shown = { 0 };
	int r;

	if (strnlen(text, HOOK_TEXT_MAX + 1) > HOOK_TEXT_MAX)
		return error_raise(err, ERROR_INVALID_HOOK, "a hook is at most %d bytes long",
				   HOOK_TEXT_MAX);
	hook = calloc(1, sizeof(*hook));
	if (hook == NULL)
		return out_of_memory(err);
	r = parse_parts(hook, text, is_pattern, err);
	if (r < 0) {
		(void)str_append_escaped(&shown, text, strnlen(text, 256));
		(void)error_context(err, r, "hook '%s'", shown.data != NULL ? shown.data : "");
		str_done(&shown);
		return r;
	}
	*ret = TAKE_PTR(hook);
	return 0;
}

int hook_parse(const char *text, struct hook **ret, struct error *err)
{
	return parse(text, false, ret, err);
}

int hook_parse_pattern(const char *text, struct hook **ret, struct error *err)
{
	return parse(text, true, ret, err);
}

static int message_option(struct hook *hook, const Bpfleet__V1__HookOption *option,
			  struct error *err)
{
	const struct hook_option_info *info = NULL;
	struct hook_part *part = NULL;
	int r;

	r = find_slot(hook, option->key, strlen(option->key), &part, &info, err);
	if (r < 0)
		return r;
	r = hook_part_from_bytes(part, option->value.data, option->value.len, err);
	return r < 0 ? r : settle_option(part, info, err);
}

static int selector_from_message(struct hook *hook, const Bpfleet__V1__Hook *message,
				 struct error *err)
{
	int r;

	if (message->target.len > 0 || strlen(message->selector) > HOOK_TARGET_MAX)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "a hook has a target or a selector, not both");
	r = parse_target(hook, message->selector, strlen(message->selector), false, err);
	if (r == 0 && !hook->selects)
		return error_raise(err, ERROR_INVALID_HOOK, "'%.64s' is no selector",
				   message->selector);
	return r;
}

int hook_from_message(const Bpfleet__V1__Hook *message, struct hook **ret, struct error *err)
{
	_cleanup_(hook_freep) struct hook *hook = calloc(1, sizeof(*hook));
	int r;

	if (hook == NULL)
		return out_of_memory(err);
	r = parse_kind(hook, message->kind, strlen(message->kind), err);
	if (r == 0 && message->selector[0] != '\0')
		r = selector_from_message(hook, message, err);
	else if (r == 0)
		r = hook_part_from_bytes(&hook->target, message->target.data, message->target.len,
					 err);
	if (r == 0 && !hook->selects)
		r = hook_part_settle(&hook->target, info_of(hook)->target_form,
				     info_of(hook)->target_words, info_of(hook)->target, err);
	for (size_t i = 0; r == 0 && i < message->n_options; i++)
		r = message_option(hook, message->options[i], err);
	if (r == 0)
		r = finish(hook, false, err);
	if (r < 0)
		return error_context(err, r, "hook");
	*ret = TAKE_PTR(hook);
	return 0;
}

static int add_option(Bpfleet__V1__Hook *message, struct arena *arena, const char *key,
		      const char *value)
{
	Bpfleet__V1__HookOption *option = arena_alloc(arena, sizeof(*option));
	size_t at = message->n_options;

	if (option == NULL)
		return -1;
	bpfleet__v1__hook_option__init(option);
	option->key = arena_strndup(arena, key, strlen(key));
	option->value.data = (uint8_t *)arena_strndup(arena, value, strlen(value));
	option->value.len = strlen(value);
	if (option->key == NULL || option->value.data == NULL)
		return -1;
	for (; at > 0 && strcmp(message->options[at - 1]->key, key) > 0; at--)
		message->options[at] = message->options[at - 1];
	message->options[at] = option;
	message->n_options++;
	return 0;
}

int hook_to_message(const struct hook *hook, struct arena *arena, Bpfleet__V1__Hook **ret,
		    struct error *err)
{
	const struct hook_kind_info *info = info_of(hook);
	Bpfleet__V1__Hook *message = arena_alloc(arena, sizeof(*message));
	int r = 0;

	if (message == NULL)
		return out_of_memory(err);
	bpfleet__v1__hook__init(message);
	message->kind = arena_strndup(arena, info->name, strlen(info->name));
	if (hook->selects) {
		message->selector =
			arena_strndup(arena, hook->target.escaped, strlen(hook->target.escaped));
	} else {
		message->target.data = (uint8_t *)arena_strndup(arena, hook->target.plain,
								strlen(hook->target.plain));
		message->target.len = strlen(hook->target.plain);
	}
	message->options = arena_alloc(arena, (HOOK_OPTIONS_MAX + 1) * sizeof(message->options[0]));
	if (message->kind == NULL || message->options == NULL || message->selector == NULL ||
	    (!hook->selects && message->target.data == NULL))
		return out_of_memory(err);
	if (is_given(&hook->argument))
		r = add_option(message, arena, info->argument.key, hook->argument.plain);
	for (size_t i = 0; r == 0 && i < HOOK_OPTIONS_MAX; i++) {
		if (is_given(&hook->options[i]))
			r = add_option(message, arena, info->options[i].key,
				       hook->options[i].plain);
	}
	if (r < 0)
		return out_of_memory(err);
	*ret = message;
	return 0;
}

void hook_free(struct hook *hook)
{
	if (hook == NULL)
		return;
	hook_part_done(&hook->target);
	hook_part_done(&hook->argument);
	for (size_t i = 0; i < HOOK_OPTIONS_MAX; i++)
		hook_part_done(&hook->options[i]);
	free(hook->text);
	free(hook);
}

static const char *shown(const struct hook_part *part)
{
	return part->plain != NULL ? part->plain : part->escaped;
}

enum hook_kind hook_kind(const struct hook *hook)
{
	return hook->kind;
}

const char *hook_target(const struct hook *hook)
{
	return shown(&hook->target);
}

const char *hook_selector(const struct hook *hook)
{
	return hook->selects ? hook->target.escaped : NULL;
}

int hook_select(const struct hook *selector, const char *name, struct hook **ret, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	Bpfleet__V1__Hook *message;
	int r;

	if (arena == NULL)
		return out_of_memory(err);
	r = hook_to_message(selector, arena, &message, err);
	if (r < 0)
		return r;
	message->selector = (char *)protobuf_c_empty_string;
	message->target.data = (uint8_t *)(uintptr_t)name;
	message->target.len = strlen(name);
	return hook_from_message(message, ret, err);
}

bool hook_selects(const struct hook *selector, const char *name)
{
	const struct hook_part part = { .plain = (char *)(uintptr_t)name };

	return selector->selects && selector->target.escaped[0] != '@' &&
	       hook_part_matches(&selector->target, &part);
}

const char *hook_argument(const struct hook *hook)
{
	return is_given(&hook->argument) ? shown(&hook->argument) : NULL;
}

const char *hook_option(const struct hook *hook, const char *key)
{
	const struct hook_kind_info *info = info_of(hook);

	for (size_t i = 0; i < HOOK_OPTIONS_MAX && info->options[i].key != NULL; i++) {
		if (strcmp(info->options[i].key, key) == 0)
			return is_given(&hook->options[i]) ? shown(&hook->options[i]) : NULL;
	}
	return NULL;
}

const char *hook_netns(const struct hook *hook)
{
	if (info_of(hook)->target_form != HOOK_FORM_OWN_NETNS)
		return hook_option(hook, "netns");
	return strcmp(hook_target(hook), "self") == 0 ? NULL : hook_target(hook);
}

const char *hook_text(const struct hook *hook)
{
	return hook->text;
}

bool hook_equal(const struct hook *a, const struct hook *b)
{
	return strcmp(a->text, b->text) == 0;
}

/* What a pattern leaves out matches anything. */
static bool covers(const struct hook_part *pattern, const struct hook_part *part)
{
	return !is_given(pattern) || (part->plain != NULL && hook_part_matches(pattern, part));
}

/* Each of several globs must be within the pattern: as a text, "a*|b" begins with "a", too. */
static bool covers_each(const struct hook_part *pattern, const char *globs)
{
	char glob[HOOK_TARGET_MAX + 1];
	size_t n;

	for (const char *p = globs;; p += n + 1) {
		const struct hook_part one = { .plain = glob };

		n = strcspn(p, "|");
		(void)snprintf(glob, sizeof(glob), "%.*s", (int)n, p);
		if (!hook_part_matches(pattern, &one))
			return false;
		if (p[n] == '\0')
			return true;
	}
}

static bool covers_target(const struct hook *pattern, const struct hook *hook)
{
	if (info_of(hook)->target_form == HOOK_FORM_GLOBS && hook->target.plain != NULL &&
	    strcmp(pattern->target.escaped, hook->target.escaped) != 0)
		return covers_each(&pattern->target, hook->target.plain);
	return covers(&pattern->target, &hook->target);
}

bool hook_matches(const struct hook *pattern, const struct hook *hook)
{
	if (pattern->kind != hook->kind || (!hook->selects && !covers_target(pattern, hook)) ||
	    !covers(&pattern->argument, &hook->argument))
		return false;
	/* A name means another interface there: that other namespaces are allowed must be said. */
	if (hook_option(hook, "netns") != NULL && hook_option(pattern, "netns") == NULL)
		return false;
	for (size_t i = 0; i < HOOK_OPTIONS_MAX; i++) {
		if (!covers(&pattern->options[i], &hook->options[i]))
			return false;
	}
	return true;
}

void hook_split_symbol(const char *argument, char *symbol, uint64_t *ret_offset)
{
	const char *plus = strchr(argument, '+');
	uint64_t offset = 0;
	size_t n = strlen(argument);

	if (plus != NULL && str_to_u64(plus + 1, INT64_MAX, &offset) == 0)
		n = (size_t)(plus - argument);
	(void)snprintf(symbol, HOOK_SYMBOL_MAX + 1, "%.*s", (int)n, argument);
	*ret_offset = offset;
}
