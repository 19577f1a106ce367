/*
 * Runs at build time: turns profiles.c into C arrays of classic BPF, ordered as a binary tree by
 * libseccomp. usage: generate-filters OUTPUT.c plain|sanitized
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/sandbox/profiles.h"

static void filter_release(scmp_filter_ctx *filter)
{
	seccomp_release(*filter);
}

/* Number of a call; 0 to skip a call that this architecture lacks, -EINVAL for a misspelt one. */
static int find_call(const char *name, int *ret)
{
	*ret = seccomp_syscall_resolve_name(name);
	if (*ret == __NR_SCMP_ERROR) {
		(void)fprintf(stderr, "no system call is named '%s'\n", name);
		return -EINVAL;
	}
	return *ret >= 0;
}

static int add_rule(scmp_filter_ctx filter, const struct profile_rule *rule)
{
	struct scmp_arg_cmp conditions[2];
	unsigned int n = 0;
	int call, r;

	r = find_call(rule->call, &call);
	if (r <= 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(rule->where); i++) {
		if (rule->where[i].mask != 0)
			conditions[n++] =
				(struct scmp_arg_cmp){ rule->where[i].arg, SCMP_CMP_MASKED_EQ,
						       rule->where[i].mask, rule->where[i].value };
	}
	r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, n, conditions);
	/* Allowed without a condition by an earlier set. */
	return r == -EEXIST ? 0 : r;
}

static int add_set(scmp_filter_ctx filter, const struct profile_set *set)
{
	for (size_t i = 0; i < set->n_rules; i++) {
		int r = add_rule(filter, &set->rules[i]);

		if (r < 0) {
			(void)fprintf(stderr, "%s: %s\n", set->rules[i].call, strerror(-r));
			return r;
		}
	}
	return 0;
}

static int add_profile(scmp_filter_ctx filter, const struct profile *profile, bool sanitized)
{
	int call, r = 0;

	r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	for (size_t i = 0; r == 0 && i < profile->n_sets; i++)
		r = add_set(filter, profile->sets[i]);
	if (r == 0 && sanitized)
		r = add_set(filter, &profile_sanitizers);
	/* The threads library falls back to clone, whose flags can be checked. */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; r == 0 && !sanitized && i < profile->n_kill; i++) {
		r = find_call(profile->kill[i], &call);
		if (r > 0)
			r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, call, 0);
	}
	return r;
}

static int print_filter(FILE *out, const char *name, scmp_filter_ctx filter)
{
	_cleanup_close_ int fd = memfd_create("filter", MFD_CLOEXEC);
	struct sock_filter f;
	unsigned int n = 0;

	if (fd < 0 || seccomp_export_bpf(filter, fd) < 0 || lseek(fd, 0, SEEK_SET) != 0)
		return -EIO;
	(void)fprintf(out, "const struct sock_filter sandbox_filter_%s[] = {\n", name);
	while (read(fd, &f, sizeof(f)) == (ssize_t)sizeof(f)) {
		(void)fprintf(out, "\t{ 0x%02x, %u, %u, 0x%08x },\n", f.code, f.jt, f.jf, f.k);
		n++;
	}
	(void)fprintf(out, "};\nconst unsigned short sandbox_filter_%s_len = %u;\n\n", name, n);
	return n > 0 && n <= BPF_MAXINSNS ? 0 : -E2BIG;
}

int main(int argc, char **argv)
{
	_cleanup_fclose_ FILE *out = NULL;
	bool sanitized;

	if (argc != 3 || (out = fopen(argv[1], "we")) == NULL) {
		(void)fprintf(stderr, "usage: %s OUTPUT.c plain|sanitized\n", argv[0]);
		return 2;
	}
	sanitized = strcmp(argv[2], "sanitized") == 0;
	(void)fprintf(out, "#include \"daemon/sandbox/filters.h\"\n\n");
	(void)fprintf(out, "const int sandbox_sanitized = %d;\n\n", sanitized);
	for (size_t i = 0; i < n_profiles; i++) {
		_cleanup_(filter_release) scmp_filter_ctx filter =
			seccomp_init(SCMP_ACT_ERRNO(EPERM));
		int r = filter == NULL ? -ENOMEM : add_profile(filter, &profiles[i], sanitized);

		if (r == 0)
			r = print_filter(out, profiles[i].name, filter);
		if (r < 0) {
			(void)fprintf(stderr, "profile %s: %s\n", profiles[i].name, strerror(-r));
			return 1;
		}
	}
	/* Leak checks at exit stop and trace the process, which no filter of ours can let through.
	 */
	if (sanitized)
		(void)fprintf(out,
			      "int __lsan_is_turned_off(void);\n\n"
			      "int __lsan_is_turned_off(void)\n{\n\treturn sandbox_entered;\n}\n");
	return ferror(out) || fflush(out) != 0 ? 1 : 0;
}
