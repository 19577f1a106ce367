/*
 * kprobe and kretprobe, by the PMU of that name; ksyscall and kretsyscall, the same on the function
 * that serves a system call; kprobe_multi and kretprobe_multi, many functions by one link, and
 * kprobe_session, both ends of them.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/hook-kind.h"

#define PMU "/sys/bus/event_source/devices/kprobe/"

#if defined(__x86_64__)
#define SYSCALL_PREFIX "__x64_sys_"
#elif defined(__aarch64__)
#define SYSCALL_PREFIX "__arm64_sys_"
#elif defined(__riscv)
#define SYSCALL_PREFIX "__riscv_sys_"
#elif defined(__s390x__)
#define SYSCALL_PREFIX "__s390x_sys_"
#else
#define SYSCALL_PREFIX "sys_"
#endif

static bool is_syscall(const struct hook *hook)
{
	return hook_kind(hook) == HOOK_KSYSCALL || hook_kind(hook) == HOOK_KRETSYSCALL;
}

static bool is_return(const struct hook *hook)
{
	return hook_kind(hook) == HOOK_KRETPROBE || hook_kind(hook) == HOOK_KRETSYSCALL ||
	       hook_kind(hook) == HOOK_KRETPROBE_MULTI;
}

/* The function that a hook names, and the offset in it. */
static uint64_t function_of(const struct hook *hook, char symbol[static HOOK_SYMBOL_MAX + 1])
{
	uint64_t offset = 0;

	if (is_syscall(hook))
		(void)snprintf(symbol, HOOK_SYMBOL_MAX + 1, SYSCALL_PREFIX "%s", hook_target(hook));
	else
		hook_split_symbol(hook_target(hook), symbol, &offset);
	return offset;
}

/* The number in a file of the PMU, as in "config:0" or "6"; -errno. */
static int read_pmu(const char *path)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	char text[32] = "";
	uint64_t value;

	if (file == NULL)
		return -errno;
	if (fgets(text, sizeof(text), file) == NULL)
		return -EIO;
	text[strcspn(text, "\n")] = '\0';
	return str_to_u64(text + strcspn(text, "0123456789"), INT32_MAX, &value) < 0 ? -EINVAL
										     : (int)value;
}

/* The type of the PMU; -errno: this kernel has no kprobes for perf. */
static int prepare(bool is_ret, struct perf_event_attr *attr)
{
	const int type = read_pmu(PMU "type");
	const int bit = is_ret && type >= 0 ? read_pmu(PMU "format/retprobe") : 0;

	if (type < 0 || bit < 0)
		return type < 0 ? type : bit;
	attr->type = (uint32_t)type;
	attr->config = is_ret ? UINT64_C(1) << bit : 0;
	return 0;
}

/* ---- names */

/* Next name of /proc/kallsyms, which holds ADDRESS TYPE NAME [MODULE]; only functions. */
static const char *next_function(FILE *file, char **line, size_t *size)
{
	char *name;

	while (getline(line, size, file) >= 0) {
		name = strchr(*line, ' ');
		if (name == NULL || strchr("tTwW", name[1]) == NULL || name[1] == '\0' ||
		    name[2] != ' ' || strchr(name + 3, '\t') != NULL)
			continue;
		name += 3;
		name[strcspn(name, "\n")] = '\0';
		return name;
	}
	return NULL;
}

/* Raises that there is no such function, with the nearest name there is. */
static int raise_symbol(const char *symbol, struct error *err)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/kallsyms", "re");
	_cleanup_free_ char *line = NULL;
	const size_t n = strlen(symbol);
	const char *name;
	char best[64] = "";
	unsigned int best_distance = n < 6 ? 2 : 3;
	size_t size = 0;

	while (file != NULL && n < sizeof(best) &&
	       (name = next_function(file, &line, &size)) != NULL) {
		const size_t n_name = strlen(name);
		unsigned int distance;

		/* The first letter is rarely the wrong one, and this is quick. */
		if (name[0] != symbol[0] || n_name + 2 < n || n + 2 < n_name ||
		    n_name >= sizeof(best))
			continue;
		distance = str_distance(name, symbol);
		if (distance < best_distance) {
			best_distance = distance;
			(void)snprintf(best, sizeof(best), "%s", name);
		}
	}
	if (best[0] != '\0' && strcmp(best, symbol) != 0)
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND,
				   "this kernel has no function '%s'; did you mean '%s'?", symbol,
				   best);
	if (best[0] != '\0')
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND,
				   "this kernel lets no probe be put on '%s'", symbol);
	return error_raise(err, ERROR_SYMBOL_NOT_FOUND, "this kernel has no function '%s'", symbol);
}

/* ---- one function */

static int attach_kprobe(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	struct perf_event_attr attr = { 0 };
	char symbol[HOOK_SYMBOL_MAX + 1];
	struct error inner = { 0 };
	int r;

	if (prepare(is_return(attach->hook), &attr) < 0)
		return error_raise(err, ERROR_KERNEL_UNSUPPORTED,
				   "this kernel has no kprobes for perf (CONFIG_KPROBE_EVENTS)");
	attr.config2 = function_of(attach->hook, symbol);
	attr.config1 = (uintptr_t)symbol;
	r = perf_attach(attach, &attr, -1, 0, ret_fd, &inner);
	if (r == 0)
		return 0;
	switch (inner.sys_errno) {
	case ENOENT:
		return raise_symbol(symbol, err);
	case EADDRNOTAVAIL:
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND,
				   "this kernel has several functions named '%s'", symbol);
	case EILSEQ:
	case EINVAL:
		return error_raise_errno(err, ERROR_SYMBOL_NOT_FOUND, inner.sys_errno,
					 "this kernel lets no probe be put on %s+0x%llx", symbol,
					 (unsigned long long)attr.config2);
	default:
		if (err != NULL)
			*err = inner;
		return r;
	}
}

static int compare_kprobe(const struct kernel_attach *attach, int link_fd,
			  const struct bpf_link_info *info, struct kernel_link_view *view,
			  struct error *err)
{
	char symbol[HOOK_SYMBOL_MAX + 1];

	(void)function_of(attach->hook, symbol);
	return perf_compare(link_fd, info,
			    is_return(attach->hook) ? BPF_PERF_EVENT_KRETPROBE
						    : BPF_PERF_EVENT_KPROBE,
			    symbol, view, err);
}

static void probe_kprobe(struct kernel_support *ret)
{
	struct perf_event_attr attr = { .config1 = (uintptr_t) "no function" };
	const int r = prepare(false, &attr);

	if (r < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail),
			       "no kprobes for perf (CONFIG_KPROBE_EVENTS): %s",
			       error_errno_name(-r));
	else
		perf_probe(BPF_PROG_TYPE_KPROBE, &attr, ret);
}

/* ---- many functions */

struct names {
	const char **names;
	size_t n, capacity;
	struct str text; /* the names themselves, each ended by NUL */
};

static void names_done(struct names *names)
{
	free(names->names);
	str_done(&names->text);
}

static bool matches_any(const char *globs, const char *name)
{
	char glob[HOOK_SYMBOL_MAX + 1];
	size_t n;

	for (const char *p = globs; *p != '\0'; p += n + (p[n] == '|')) {
		n = strcspn(p, "|");
		(void)snprintf(glob, sizeof(glob), "%.*s", (int)n, p);
		if (str_glob(glob, name))
			return true;
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Points to each name, once. */
static int index_names(struct names *names, size_t n, struct error *err)
{
	const char *p = names->text.data;
	size_t kept = 0;

	names->names = calloc(n, sizeof(*names->names));
	if (names->names == NULL || names->text.failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold names of functions");
	for (size_t i = 0; i < n; i++, p += strlen(p) + 1)
		names->names[i] = p;
	qsort(names->names, n, sizeof(*names->names), by_name);
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || strcmp(names->names[kept - 1], names->names[i]) != 0)
			names->names[kept++] = names->names[i];
	}
	names->n = kept;
	return 0;
}

/* Functions that the globs match, of those that ftrace can trace; the supervisor has their list. */
static int expand(const struct kernel_attach *attach, const char *globs, struct names *names,
		  struct error *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0, n = 0;
	int fd = -1, r;

	r = attach->context->traceable(attach->context->user, &fd, err);
	if (r < 0)
		return r;
	file = fdopen(fd, "re");
	if (file == NULL) {
		(void)close(fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot read a list of functions");
	}
	while (getline(&line, &size, file) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		/* Functions of modules are followed by [MODULE]; the kernel looks them up nowhere.
		 */
		if (strchr(line, ' ') != NULL || strncmp(line, "__ftrace_invalid", 16) == 0 ||
		    !matches_any(globs, line))
			continue;
		(void)str_append_bytes(&names->text, line, strlen(line) + 1);
		n++;
	}
	if (n == 0)
		return error_raise(err, ERROR_SYMBOL_NOT_FOUND,
				   "this kernel has no function like '%.200s' that can be traced",
				   globs);
	return index_names(names, n, err);
}

static int split(const char *globs, struct names *names, struct error *err)
{
	size_t n = 1;

	(void)str_append_bytes(&names->text, globs, strlen(globs) + 1);
	for (char *p = names->text.failed ? NULL : strchr(names->text.data, '|'); p != NULL;
	     p = strchr(p + 1, '|')) {
		*p = '\0';
		n++;
	}
	return index_names(names, n, err);
}

/* fd or negative errno */
static int create(int program_fd, enum bpf_attach_type type, bool is_ret, const char **names,
		  size_t n)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)program_fd;
	attr.link_create.attach_type = type;
	attr.link_create.kprobe_multi.syms = (uintptr_t)names;
	attr.link_create.kprobe_multi.cnt = (uint32_t)n;
	attr.link_create.kprobe_multi.flags = is_ret ? BPF_F_KPROBE_MULTI_RETURN : 0;
	return hook_link_make(&attr);
}

static int attach_multi(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const enum bpf_attach_type type =
		(enum bpf_attach_type)hook_ops_of(hook_kind(attach->hook))->load_as;
	const char *globs = hook_target(attach->hook);
	_cleanup_(names_done) struct names names = { 0 };
	int fd, r;

	r = strchr(globs, '*') != NULL ? expand(attach, globs, &names, err)
				       : split(globs, &names, err);
	if (r < 0)
		return r;
	fd = create(attach->program_fd, type, is_return(attach->hook), names.names, names.n);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd == -ESRCH || fd == -ENOENT)
		return raise_symbol(names.names[0], err);
	return hook_raise_attach(attach, -fd, err);
}

static int compare_multi(const struct kernel_attach *attach, int link_fd,
			 const struct bpf_link_info *info, struct kernel_link_view *view,
			 struct error *err)
{
	(void)link_fd;
	(void)err;
	/* Before Linux 6.6 a link does not say how many functions it is on. */
	if (info->kprobe_multi.count > 0 &&
	    ((info->kprobe_multi.flags & BPF_F_KPROBE_MULTI_RETURN) != 0) !=
		    is_return(attach->hook))
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on the other end of functions");
	return 0;
}

static void probe_multi(struct kernel_support *ret)
{
	const bool session = strcmp(ret->kind, "kprobe_session") == 0;
	const enum bpf_attach_type type =
		session ? BPF_TRACE_KPROBE_SESSION : BPF_TRACE_KPROBE_MULTI;
	const char *none = "no function";
	_cleanup_close_ int program = -1, fd = -1;
	int r = hook_try_load(BPF_PROG_TYPE_KPROBE, type, 0, &program);

	if (r == 0)
		r = fd = create(program, type, false, &none, 1);
	/* A kernel that can looks the name up. */
	ret->supported = r == -ESRCH || r == -ENOENT;
	if (!ret->supported)
		(void)snprintf(ret->detail, sizeof(ret->detail), "no fprobes (CONFIG_FPROBE)%s: %s",
			       session ? ", or none with sessions (Linux 6.10)" : "",
			       error_errno_name(-r));
}

#define ONE(kind)                                      \
	const struct hook_ops hook_##kind = {          \
		.link_type = BPF_LINK_TYPE_PERF_EVENT, \
		.load_as = 0,                          \
		.attach = attach_kprobe,               \
		.compare = compare_kprobe,             \
		.probe = probe_kprobe,                 \
	}
#define MULTI(kind, type)                                \
	const struct hook_ops hook_##kind = {            \
		.link_type = BPF_LINK_TYPE_KPROBE_MULTI, \
		.load_as = type,                         \
		.attach = attach_multi,                  \
		.compare = compare_multi,                \
		.probe = probe_multi,                    \
	}

ONE(kprobe);
ONE(kretprobe);
ONE(ksyscall);
ONE(kretsyscall);
MULTI(kprobe_multi, BPF_TRACE_KPROBE_MULTI);
MULTI(kretprobe_multi, BPF_TRACE_KPROBE_MULTI);
MULTI(kprobe_session, BPF_TRACE_KPROBE_SESSION);
