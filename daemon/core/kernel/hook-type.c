/* What the kernel calls the places that hooks name: a row for each kind and argument. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/hook-kind.h"

static const struct hook_type types[] = {
	{ HOOK_XDP, NULL, BPF_XDP, false },
	{ HOOK_TC, "ingress", BPF_TCX_INGRESS, false },
	{ HOOK_TC, "egress", BPF_TCX_EGRESS, false },
	{ HOOK_NETKIT, "primary", BPF_NETKIT_PRIMARY, false },
	{ HOOK_NETKIT, "peer", BPF_NETKIT_PEER, false },
	{ HOOK_CGROUP_SKB, "ingress", BPF_CGROUP_INET_INGRESS, false },
	{ HOOK_CGROUP_SKB, "egress", BPF_CGROUP_INET_EGRESS, false },
	{ HOOK_LSM_CGROUP, NULL, BPF_LSM_CGROUP, false },
	{ HOOK_CGROUP_SOCK, "create", BPF_CGROUP_INET_SOCK_CREATE, true },
	{ HOOK_CGROUP_SOCK, "release", BPF_CGROUP_INET_SOCK_RELEASE, true },
	{ HOOK_CGROUP_SOCK, "post_bind4", BPF_CGROUP_INET4_POST_BIND, true },
	{ HOOK_CGROUP_SOCK, "post_bind6", BPF_CGROUP_INET6_POST_BIND, true },
	{ HOOK_CGROUP_SOCK_ADDR, "bind4", BPF_CGROUP_INET4_BIND, true },
	{ HOOK_CGROUP_SOCK_ADDR, "bind6", BPF_CGROUP_INET6_BIND, true },
	{ HOOK_CGROUP_SOCK_ADDR, "connect4", BPF_CGROUP_INET4_CONNECT, true },
	{ HOOK_CGROUP_SOCK_ADDR, "connect6", BPF_CGROUP_INET6_CONNECT, true },
	{ HOOK_CGROUP_SOCK_ADDR, "connect_unix", BPF_CGROUP_UNIX_CONNECT, true },
	{ HOOK_CGROUP_SOCK_ADDR, "sendmsg4", BPF_CGROUP_UDP4_SENDMSG, true },
	{ HOOK_CGROUP_SOCK_ADDR, "sendmsg6", BPF_CGROUP_UDP6_SENDMSG, true },
	{ HOOK_CGROUP_SOCK_ADDR, "sendmsg_unix", BPF_CGROUP_UNIX_SENDMSG, true },
	{ HOOK_CGROUP_SOCK_ADDR, "recvmsg4", BPF_CGROUP_UDP4_RECVMSG, true },
	{ HOOK_CGROUP_SOCK_ADDR, "recvmsg6", BPF_CGROUP_UDP6_RECVMSG, true },
	{ HOOK_CGROUP_SOCK_ADDR, "recvmsg_unix", BPF_CGROUP_UNIX_RECVMSG, true },
	{ HOOK_CGROUP_SOCK_ADDR, "getpeername4", BPF_CGROUP_INET4_GETPEERNAME, true },
	{ HOOK_CGROUP_SOCK_ADDR, "getpeername6", BPF_CGROUP_INET6_GETPEERNAME, true },
	{ HOOK_CGROUP_SOCK_ADDR, "getpeername_unix", BPF_CGROUP_UNIX_GETPEERNAME, true },
	{ HOOK_CGROUP_SOCK_ADDR, "getsockname4", BPF_CGROUP_INET4_GETSOCKNAME, true },
	{ HOOK_CGROUP_SOCK_ADDR, "getsockname6", BPF_CGROUP_INET6_GETSOCKNAME, true },
	{ HOOK_CGROUP_SOCK_ADDR, "getsockname_unix", BPF_CGROUP_UNIX_GETSOCKNAME, true },
	{ HOOK_CGROUP_SOCKOPT, "get", BPF_CGROUP_GETSOCKOPT, true },
	{ HOOK_CGROUP_SOCKOPT, "set", BPF_CGROUP_SETSOCKOPT, true },
	{ HOOK_CGROUP_DEVICE, NULL, BPF_CGROUP_DEVICE, false },
	{ HOOK_CGROUP_SYSCTL, NULL, BPF_CGROUP_SYSCTL, false },
	{ HOOK_SOCK_OPS, NULL, BPF_CGROUP_SOCK_OPS, false },
	{ HOOK_SK_LOOKUP, NULL, BPF_SK_LOOKUP, true },
	{ HOOK_FLOW_DISSECTOR, NULL, BPF_FLOW_DISSECTOR, false },
	{ HOOK_NETFILTER, NULL, BPF_NETFILTER, true },
	{ HOOK_SK_SKB, "stream_parser", BPF_SK_SKB_STREAM_PARSER, false },
	{ HOOK_SK_SKB, "stream_verdict", BPF_SK_SKB_STREAM_VERDICT, false },
	{ HOOK_SK_SKB, "verdict", BPF_SK_SKB_VERDICT, false },
	{ HOOK_SK_MSG, NULL, BPF_SK_MSG_VERDICT, false },
};

/* Types that the oldest kernel supported lacks, and the Linux that brought them. */
static const struct {
	enum bpf_attach_type type;
	const char *since;
} young[] = {
	{ BPF_NETFILTER, "6.4" },
	{ BPF_CGROUP_UNIX_CONNECT, "6.7" },
	{ BPF_CGROUP_UNIX_SENDMSG, "6.7" },
	{ BPF_CGROUP_UNIX_RECVMSG, "6.7" },
	{ BPF_CGROUP_UNIX_GETPEERNAME, "6.7" },
	{ BPF_CGROUP_UNIX_GETSOCKNAME, "6.7" },
};

const struct hook_type *hook_type_next(enum hook_kind kind, const struct hook_type *after)
{
	for (const struct hook_type *type = after != NULL ? after + 1 : types;
	     type < types + ARRAY_SIZE(types); type++) {
		if (type->kind == kind)
			return type;
	}
	return NULL;
}

bool hook_type_is_within(const struct hook_type *type, const struct hook *pattern)
{
	const char *argument = hook_argument(pattern);

	return type->kind == hook_kind(pattern) &&
	       (type->argument == NULL || argument == NULL || str_glob(argument, type->argument));
}

enum bpf_attach_type hook_attach_type(const struct kernel_attach *attach)
{
	const struct hook_type *type = NULL;

	while ((type = hook_type_next(hook_kind(attach->hook), type)) != NULL) {
		if (type->argument == NULL ||
		    strcmp(type->argument, hook_argument(attach->hook)) == 0)
			return type->type;
	}
	return 0;
}

void hook_compare_type(const struct kernel_attach *attach, uint32_t shown,
		       struct kernel_link_view *view)
{
	if (shown != (uint32_t)hook_attach_type(attach))
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is attached to another place there: %s",
			     libbpf_bpf_attach_type_str((enum bpf_attach_type)shown));
}

int hook_raise_invalid(const struct kernel_attach *attach, enum bpf_prog_type type,
		       struct error *err)
{
	const char *text = hook_text(attach->hook);
	_cleanup_close_ int fd = -1;
	const int r = hook_try_load(type, hook_attach_type(attach), 0, &fd);

	if (r < 0)
		return error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, -r,
					 "this kernel has no hook as %.200s", text);
	return error_raise(err, ERROR_INVALID_HOOK,
			   "the kernel does not take the program at %.200s: the section of a "
			   "program says for which call it is loaded",
			   text);
}

const char *hook_type_since(enum bpf_attach_type type)
{
	for (size_t i = 0; i < ARRAY_SIZE(young); i++) {
		if (young[i].type == type)
			return young[i].since;
	}
	return NULL;
}

bool hook_type_is_missing(enum bpf_prog_type program, enum bpf_attach_type type,
			  char ret_why[static HOOK_WHY_SIZE])
{
	_cleanup_close_ int fd = -1;
	const int r = hook_try_load(program, type, 0, &fd);

	if (r == -EINVAL && hook_type_since(type) != NULL)
		(void)snprintf(ret_why, HOOK_WHY_SIZE, "%s programs (Linux %s) are missing",
			       libbpf_bpf_attach_type_str(type), hook_type_since(type));
	else if (r < 0)
		(void)snprintf(ret_why, HOOK_WHY_SIZE, "loading one fails: %s",
			       error_errno_name(-r));
	return r < 0;
}

void hook_probe_types(enum bpf_prog_type program, struct kernel_support *ret)
{
	const struct hook_type *type = NULL;
	struct kernel_support first = *ret, one = *ret;
	struct str missing = { 0 };
	enum hook_kind kind;

	if (!hook_kind_from_name(ret->kind, &kind))
		return;
	while ((type = hook_type_next(kind, type)) != NULL) {
		one.supported = !hook_type_is_missing(program, type->type, one.detail);
		first = first.supported ? first : one;
		if (!one.supported && type->argument != NULL)
			(void)str_appendf(&missing, "%s%s", missing.len > 0 ? ", " : "without ",
					  type->argument);
	}
	*ret = first;
	if (first.supported)
		(void)snprintf(ret->detail, sizeof(ret->detail), "%s",
			       missing.data != NULL ? missing.data : "");
	str_done(&missing);
}
