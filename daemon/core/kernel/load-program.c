#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/hook.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/load-private.h"

/* What the hooks of a program say together. */
struct wishes {
	const struct hook_ops *ops; /* of the first; NULL: there is none */
	enum hook_kind kind;
	uint64_t types;	 /* bit n: the n-th type of the kind (hook-type.c) */
	char bound[256]; /* what the kernel shall bind it to; empty: nothing named */
};

/* The kernel binds some programs when it loads them, so that their hooks cannot differ in that. */
static int add_bound(const struct hook *hook, const char *program, struct wishes *wishes,
		     struct error *err)
{
	const char *name = hook_argument(hook) != NULL ? hook_argument(hook) : hook_target(hook);

	if (strchr(name, '*') != NULL)
		return wishes->kind == HOOK_TP_BTF
			       ? 0
			       : error_raise(err, ERROR_MANIFEST_INVALID,
					     "program '%s': the kernel binds it when it is loaded; "
					     "name one, not '%s'",
					     program, hook_text(hook));
	if (wishes->bound[0] != '\0' && strcmp(wishes->bound, name) != 0)
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "program '%s': the kernel binds it to one of the events %s and "
				   "%s when it is loaded; name one",
				   program, wishes->bound, name);
	(void)strncpy(wishes->bound, name, sizeof(wishes->bound) - 1);
	return 0;
}

static int add_hook(const char *pattern, const char *program, struct wishes *wishes,
		    struct error *err)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	const struct hook_ops *ops;
	const struct hook_type *type = NULL;
	int r;

	r = hook_parse_pattern(pattern, &hook, err);
	if (r < 0)
		return error_context(err, r, "program '%s'", program);
	ops = hook_ops_of(hook_kind(hook));
	if (wishes->ops != NULL &&
	    (wishes->ops->load_as != ops->load_as || wishes->ops->bound != ops->bound))
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "program '%s' names hooks of the kinds %s and %s", program,
				   hook_kind_info(wishes->kind)->name,
				   hook_kind_info(hook_kind(hook))->name);
	wishes->ops = ops;
	wishes->kind = hook_kind(hook);
	for (unsigned int i = 0; (type = hook_type_next(wishes->kind, type)) != NULL; i++)
		wishes->types |= (uint64_t)hook_type_is_within(type, hook) << i;
	return ops->bound ? add_bound(hook, program, wishes, err) : 0;
}

/* What it is bound to: the manifest's choice, or else the section's ("fentry/NAME"). */
static int configure_bound(struct bpf_program *program, const struct wishes *wishes,
			   struct error *err)
{
	const char *slash = strchr(bpf_program__section_name(program), '/');
	const char *name = bpf_program__name(program);
	int r;

	if (slash == NULL && wishes->bound[0] == '\0')
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "program '%s' names no event, neither in its section nor in its "
				   "hooks",
				   name);
	if (wishes->bound[0] == '\0' || (slash != NULL && strcmp(slash + 1, wishes->bound) == 0))
		return 0;
	r = bpf_program__set_attach_target(program, 0, wishes->bound);
	if (r < 0)
		return error_raise_errno(
			err, ERROR_KERNEL_UNSUPPORTED, -r,
			"program '%s': this kernel has no '%s' for hooks of kind %s", name,
			wishes->bound, hook_kind_info(wishes->kind)->name);
	return 0;
}

static void set_attach_type(struct bpf_program *program, enum bpf_attach_type type)
{
	if (bpf_program__expected_attach_type(program) != type)
		(void)bpf_program__set_expected_attach_type(program, type);
}

/* The verifier binds such a program to one type, which its section states, or else its hooks do. */
static int configure_type(struct bpf_program *program, const struct wishes *wishes,
			  struct error *err)
{
	const enum bpf_attach_type expected = bpf_program__expected_attach_type(program);
	const struct hook_type *type = NULL, *wished = NULL, *stated = NULL;

	for (unsigned int i = 0; (type = hook_type_next(wishes->kind, type)) != NULL; i++) {
		if ((wishes->types >> i & 1) != 0)
			wished = type;
		if (type->type == expected)
			stated = type;
		if (type->type == expected && (wishes->types >> i & 1) != 0)
			return 0;
	}
	if (wished == NULL || !wished->is_bound)
		return 0;
	if (stated == NULL && (wishes->types & (wishes->types - 1)) == 0) {
		set_attach_type(program, wished->type);
		return 0;
	}
	return error_raise(
		err, ERROR_MANIFEST_INVALID,
		"program '%s' is for %s by its section (%s), and its hooks are for others",
		bpf_program__name(program),
		stated != NULL ? stated->argument : "no call of that kind",
		bpf_program__section_name(program));
}

int load_program_configure(const Bpfleet__V1__ProgramSpec *spec, struct bpf_program *program,
			   struct error *err)
{
	struct wishes wishes = { 0 };
	int r;

	for (size_t i = 0; i < spec->n_hooks; i++) {
		r = add_hook(spec->hooks[i], spec->name, &wishes, err);
		if (r < 0)
			return r;
	}
	if (wishes.ops == NULL)
		return 0;
	if (!hook_kind_takes(hook_kind_info(wishes.kind), spec->type))
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "program '%s' is of type %s, its hooks are for type %s",
				   spec->name, spec->type,
				   hook_kind_info(wishes.kind)->program_type);
	if (wishes.ops->load_as != HOOK_AS_IS)
		set_attach_type(program, (enum bpf_attach_type)wishes.ops->load_as);
	/* Returns 2 and 3 are for egress alone, so a program for both states neither. */
	if (wishes.kind == HOOK_CGROUP_SKB && (wishes.types == 1 || wishes.types == 2))
		set_attach_type(program, wishes.types == 2 ? BPF_CGROUP_INET_EGRESS
							   : BPF_CGROUP_INET_INGRESS);
	if (wishes.ops->bound)
		return configure_bound(program, &wishes, err);
	return wishes.ops->load_as == HOOK_AS_IS ? configure_type(program, &wishes, err) : 0;
}

static enum error_code code_of(int sys_errno, bool has_log, bool is_program)
{
	switch (sys_errno) {
	case ENOMEM:
		return ERROR_OUT_OF_MEMORY;
	default:
		break;
	}
	if (is_program && has_log)
		return ERROR_VERIFIER_REJECTED;
	switch (sys_errno) {
	case E2BIG:
	case EMFILE:
	case ENFILE:
		return ERROR_LIMIT_EXCEEDED;
	case EPERM:
		/* Without a log: the type of program is refused, by policy or for want of a
		 * capability. */
	case ESRCH:
	case ENOENT:
	case ENOTSUP:
	case 524: /* ENOTSUPP, which bpf(2) lets out of the kernel */
		return ERROR_KERNEL_UNSUPPORTED;
	case EINVAL:
		return is_program ? ERROR_KERNEL_UNSUPPORTED : ERROR_KERNEL_REFUSED;
	default:
		return ERROR_KERNEL_REFUSED;
	}
}

/* The end of the log, from the start of a line. */
static void add_log(const struct load *load)
{
	const size_t n = strnlen(load->log, LOAD_LOG_SIZE);
	const char *start = load->log + (n < KERNEL_LOG_MAX ? 0 : n - KERNEL_LOG_MAX);
	const char *next = start == load->log ? NULL : strchr(start, '\n');

	if (next != NULL)
		start = next + 1;
	load->options->rejection_log->len = 0;
	(void)str_append(load->options->rejection_log, start);
}

static int raise_rejection(const struct load *load, const struct bpf_object *object, size_t culprit,
			   int sys_errno, struct error *err)
{
	const Bpfleet__V1__ProgramSpec *spec = load->manifest->programs[culprit];
	const struct load_program *wish = &load->programs[culprit];
	struct load_log log, brief;
	char place[LOAD_SOURCE_MAX + 16] = "";
	int r;

	load_log_hide_addresses(load->log);
	load_log_read(load->log, &log);
	/* A log that was too long for a kernel before 6.4 lacks its end, the brief one does not. */
	if (log.verdict[0] == '\0' && wish->statistics != NULL) {
		load_log_read(wish->statistics, &brief);
		memcpy(log.verdict, brief.verdict, sizeof(log.verdict));
	}
	for (size_t i = 0; i < load->manifest->n_objects; i++) {
		if (strcmp(load->manifest->objects[i]->name, spec->object) == 0)
			load_line_find(load->options->bundle->objects[i], bpf_object__btf(object),
				       spec->name, wish->n_insns, &log);
	}
	if (log.line != 0)
		(void)snprintf(place, sizeof(place), " at %s:%u", log.file, log.line);
	r = error_raise_errno(err, ERROR_VERIFIER_REJECTED, sys_errno,
			      "the kernel's verifier refused program '%s'%s: %s", spec->name, place,
			      log.verdict[0] != '\0' ? log.verdict : load->messages.text);
	error_detail(err, "program", "%s", spec->name);
	error_detail(err, "object", "%s", spec->object);
	error_detail(err, "verdict", "%s", log.verdict);
	if (log.line != 0) {
		error_detail(err, "file", "%s", log.file);
		error_detail(err, "line", "%u", log.line);
	}
	if (log.source[0] != '\0')
		error_detail(err, "source", "%s", log.source);
	if (load->options->rejection_log != NULL)
		add_log(load);
	return r;
}

int load_raise(const struct load *load, const struct bpf_object *object, size_t culprit,
	       int sys_errno, struct error *err)
{
	const bool is_program = culprit != NO_PROGRAM;
	const enum error_code code = code_of(sys_errno, load->log[0] != '\0', is_program);
	const char *name = is_program ? load->manifest->programs[culprit]->name : "";
	const struct bpf_program *program = bpf_object__find_program_by_name(object, name);
	enum bpf_attach_type type;
	char why[HOOK_WHY_SIZE];
	int r;

	if (program == NULL)
		return error_raise_errno(err, code, sys_errno, "the kernel refused an object (%s)",
					 load->messages.text);
	if (code == ERROR_VERIFIER_REJECTED)
		return raise_rejection(load, object, culprit, sys_errno, err);
	type = bpf_program__expected_attach_type(program);
	r = error_raise_errno(
		err, code, sys_errno, "the kernel refused program '%s': %s", name,
		code == ERROR_KERNEL_UNSUPPORTED && hook_type_since(type) != NULL &&
				hook_type_is_missing(bpf_program__type(program), type, why)
			? why
			: load->messages.text);
	error_detail(err, "program", "%s", name);
	return r;
}
