/* Hook texts: what parses has a canonical text that parses to itself, and fits a message. */
#include <string.h>

#include "base/error.h"
#include "bundle/hook.h"
#include "bundle/name.h"
#include "proto/arena.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_names(const char *text)
{
	char again[NAME_RESOURCE_MAX + 1];
	struct resource_name name;

	if (resource_parse(text, &name, NULL) == 0) {
		resource_format(&name, again);
		if (strcmp(text, again) != 0)
			__builtin_trap();
	}
}

static void check_hook(const struct hook *hook)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(1 << 16);
	_cleanup_(hook_freep) struct hook *again = NULL, *copy = NULL, *pattern = NULL;
	Bpfleet__V1__Hook *message;

	if (arena == NULL)
		return;
	if (hook_parse(hook_text(hook), &again, NULL) < 0 || !hook_equal(hook, again) ||
	    hook_to_message(hook, arena, &message, NULL) < 0 ||
	    hook_from_message(message, &copy, NULL) < 0 || !hook_equal(hook, copy))
		__builtin_trap();
	/* Selectors are no patterns. */
	if (hook_selector(hook) == NULL &&
	    (hook_parse_pattern(hook_text(hook), &pattern, NULL) < 0 ||
	     !hook_matches(pattern, hook)))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(hook_freep) struct hook *hook = NULL, *pattern = NULL, *again = NULL;
	_cleanup_free_ char *text = strndup((const char *)data, size);
	struct error err = { 0 };

	if (text == NULL)
		return 0;
	check_names(text);
	if (hook_parse(text, &hook, &err) == 0)
		check_hook(hook);
	if (hook_parse_pattern(text, &pattern, &err) == 0 &&
	    (hook_parse_pattern(hook_text(pattern), &again, NULL) < 0 ||
	     !hook_equal(pattern, again)))
		__builtin_trap();
	return 0;
}
