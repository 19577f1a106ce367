#define _GNU_SOURCE
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/core/kernel/foreign.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/order.h"

static const struct hook_ops *const kinds[HOOK_N_KINDS] = {
	[HOOK_XDP] = &hook_xdp,
	[HOOK_TC] = &hook_tc,
	[HOOK_CGROUP_SKB] = &hook_cgroup,
	[HOOK_TRACEPOINT] = &hook_tracepoint,
	[HOOK_RAW_TP] = &hook_raw_tp,
	[HOOK_TP_BTF] = &hook_tp_btf,
	[HOOK_UPROBE] = &hook_uprobe,
	[HOOK_URETPROBE] = &hook_uretprobe,
	[HOOK_USDT] = &hook_usdt,
	[HOOK_KPROBE] = &hook_kprobe,
	[HOOK_KRETPROBE] = &hook_kretprobe,
	[HOOK_KSYSCALL] = &hook_ksyscall,
	[HOOK_KRETSYSCALL] = &hook_kretsyscall,
	[HOOK_KPROBE_MULTI] = &hook_kprobe_multi,
	[HOOK_KRETPROBE_MULTI] = &hook_kretprobe_multi,
	[HOOK_FENTRY] = &hook_fentry,
	[HOOK_FEXIT] = &hook_fexit,
	[HOOK_FMOD_RET] = &hook_fmod_ret,
	[HOOK_LSM] = &hook_lsm,
	[HOOK_LSM_CGROUP] = &hook_lsm_cgroup,
	[HOOK_PERF_EVENT] = &hook_perf_event,
	[HOOK_ITER] = &hook_iter,
	[HOOK_STRUCT_OPS] = &hook_struct_ops,
	[HOOK_CGROUP_SOCK] = &hook_cgroup,
	[HOOK_CGROUP_SOCK_ADDR] = &hook_cgroup,
	[HOOK_CGROUP_SOCKOPT] = &hook_cgroup,
	[HOOK_CGROUP_DEVICE] = &hook_cgroup,
	[HOOK_CGROUP_SYSCTL] = &hook_cgroup,
	[HOOK_SOCK_OPS] = &hook_cgroup,
	[HOOK_SK_LOOKUP] = &hook_of_netns,
	[HOOK_FLOW_DISSECTOR] = &hook_of_netns,
	[HOOK_NETFILTER] = &hook_netfilter,
	[HOOK_SK_SKB] = &hook_sockmap,
	[HOOK_SK_MSG] = &hook_sockmap,
	[HOOK_NETKIT] = &hook_netkit,
	[HOOK_KPROBE_SESSION] = &hook_kprobe_session,
	[HOOK_UPROBE_SESSION] = &hook_uprobe_session,
	[HOOK_SOCKET_FILTER] = &hook_socket,
	[HOOK_SK_REUSEPORT] = &hook_socket,
};

const struct hook_ops *hook_ops_of(enum hook_kind kind)
{
	return kinds[kind];
}

static const struct hook_ops *ops_of(const struct kernel_attach *attach)
{
	return kinds[hook_kind(attach->hook)];
}

const char *kernel_hook_map(const struct hook *hook, bool *ret_optional)
{
	*ret_optional = hook_kind(hook) == HOOK_USDT;
	if (hook_kind(hook) == HOOK_USDT)
		return "__bpf_usdt_specs";
	if (hook_kind_info(hook_kind(hook))->target_form == HOOK_FORM_MAP)
		return hook_target(hook);
	return hook_kind(hook) == HOOK_ITER ? hook_option(hook, "map") : NULL;
}

bool kernel_hook_swaps_map(const struct hook *hook)
{
	return kinds[hook_kind(hook)]->is_of_map;
}

void hook_differs(struct kernel_link_view *view, enum kernel_link_state state, const char *format,
		  ...)
{
	va_list args;

	view->state = state;
	va_start(args, format);
	(void)vsnprintf(view->reason, sizeof(view->reason), format, args);
	va_end(args);
}

void hook_detail_holder(struct error *err, uint32_t id)
{
	_cleanup_free_ struct foreign_record *records = NULL;
	struct error ignored = { 0 };
	size_t n = 0;

	error_detail(err, "holder_program_id", "%u", id);
	if (err == NULL || kernel_foreign_list(&records, &n, &ignored) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (!records[i].is_link && records[i].id == id)
			error_detail(err, "holder_program", "%.15s, loaded by uid %u",
				     records[i].name, records[i].uid);
	}
}

int hook_raise_attach(const struct kernel_attach *attach, int sys_errno, struct error *err)
{
	const char *text = hook_text(attach->hook);
	enum error_code code = ERROR_KERNEL_REFUSED;

	switch (sys_errno) {
	case ENODEV:
	case ENOENT:
		code = ERROR_TARGET_NOT_FOUND;
		break;
	case EBUSY:
	case EEXIST:
		code = ERROR_HOOK_BUSY;
		break;
	case EOPNOTSUPP:
	case 524: /* ENOTSUPP, which bpf(2) lets out of the kernel */
		code = ERROR_KERNEL_UNSUPPORTED;
		break;
	case ENOMEM:
		code = ERROR_OUT_OF_MEMORY;
		break;
	case ESTALE:
		code = ERROR_HOOK_BUSY;
		break;
	case EMFILE:
	case ENFILE:
	case E2BIG:
	case ERANGE:
		code = ERROR_LIMIT_EXCEEDED;
		break;
	default:
		break;
	}
	return error_raise_errno(err, code, sys_errno, "cannot attach to %.200s", text);
}

int kernel_hook_check(const struct hook *hook, uint32_t program_type, struct error *err)
{
	const struct hook_kind_info *info = hook_kind_info(hook_kind(hook));
	const char *type = libbpf_bpf_prog_type_str((enum bpf_prog_type)program_type);

	if (type != NULL && hook_kind_takes(info, type))
		return 0;
	return error_raise(err, ERROR_INVALID_HOOK,
			   "hooks of kind %s take programs of type %s, this one is of type %s",
			   info->name, info->program_type, type != NULL ? type : "unknown");
}

static int link_info(int fd, struct bpf_link_info *info, struct error *err)
{
	uint32_t size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (bpf_link_get_info_by_fd(fd, info, &size) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a link");
	return 0;
}

static int attach_clsact(const struct kernel_attach *attach, struct kernel_link *ret,
			 struct error *err)
{
	int r;

	if (hook_netns(attach->hook) != NULL)
		return error_raise(
			err, ERROR_KERNEL_UNSUPPORTED,
			"without tcx (since Linux 6.6) tc is attached in the daemon's own "
			"network namespace only");
	r = clsact_attach(attach, err);
	if (r == 0)
		*ret = (struct kernel_link){ .form = KERNEL_LINK_CLSACT, .fd = -1 };
	return r;
}

int kernel_attach(const struct kernel_attach *attach, struct kernel_link *ret, struct error *err)
{
	const bool on_socket = hook_kind_info(hook_kind(attach->hook))->socket;
	_cleanup_close_ int fd = -1;
	struct bpf_link_info info = { 0 };
	int r;

	if (hook_selector(attach->hook) != NULL) {
		*ret = (struct kernel_link){ .form = KERNEL_LINK_SELECTOR, .fd = -1 };
		return 0;
	}
	if (hook_kind(attach->hook) == HOOK_TC && !hook_tc_is_tcx(attach->context))
		return attach_clsact(attach, ret, err);
	r = ops_of(attach)->attach(attach, &fd, err);
	if (r == 0 && !on_socket)
		r = link_info(fd, &info, err);
	if (r < 0)
		return r;
	*ret = (struct kernel_link){ .form = on_socket ? KERNEL_LINK_SOCKET : KERNEL_LINK_FD,
				     .fd = TAKE_FD(fd),
				     .id = info.id,
				     .beside = attach->beside != 0 };
	return 0;
}

int hook_update_link(const struct kernel_attach *attach, int old_program_fd, int link_fd)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts, .flags = BPF_F_REPLACE,
		    .old_prog_fd = (uint32_t)old_program_fd);

	return bpf_link_update(link_fd, attach->program_fd, &opts) < 0 ? -errno : 0;
}

/* What a link that cannot be updated says: who runs there, or that its target is gone. */
static int raise_update(const struct kernel_attach *attach, uint32_t old_program_id, int link_fd,
			int sys_errno, struct error *err)
{
	const char *text = hook_text(attach->hook);
	struct bpf_link_info info;

	if (sys_errno == ENOLINK)
		return error_raise_errno(err, ERROR_TARGET_NOT_FOUND, sys_errno,
					 "the target of %.200s is gone", text);
	if (link_info(link_fd, &info, NULL) == 0 && info.prog_id != old_program_id)
		return error_raise_errno(err, ERROR_LINK_DRIFTED, sys_errno,
					 "program %u runs at %.200s instead of %u", info.prog_id,
					 text, old_program_id);
	return hook_raise_attach(attach, sys_errno, err);
}

int kernel_update(const struct kernel_attach *attach, int old_program_fd, uint32_t old_program_id,
		  struct kernel_link *link, struct kernel_link *ret_old, struct error *err)
{
	const struct hook_ops *ops = ops_of(attach);
	struct kernel_attach place = *attach;
	struct kernel_link added;
	int r;

	if (link->form == KERNEL_LINK_SELECTOR) {
		r = 0;
	} else if (link->form == KERNEL_LINK_CLSACT) {
		r = clsact_update(attach, old_program_id, err);
	} else if (ops->update != NULL) {
		r = ops->update(attach, old_program_fd, link->fd);
		if (r < 0)
			r = raise_update(attach, old_program_id, link->fd, -r, err);
	} else {
		struct error cause;

		do {
			cause = (struct error){ 0 };
			r = kernel_attach(&place, &added, &cause);
		} while (r < 0 && cause.code == ERROR_HOOK_BUSY && place.beside++ < ops->n_beside);
		if (r < 0 && err != NULL)
			*err = cause;
		if (r == 0) {
			*ret_old = *link;
			*link = added;
			return 0;
		}
	}
	if (r == 0)
		*ret_old = KERNEL_LINK_NONE;
	return r;
}

/* Whether a map stands for the link. */
static bool is_map(const struct kernel_attach *attach)
{
	const struct hook_ops *ops = ops_of(attach);

	return ops->is_map != NULL && ops->is_map(attach->hook);
}

static int describe_fd(const struct kernel_attach *attach, int fd, struct kernel_link_view *ret,
		       uint32_t *ret_id, struct error *err)
{
	const struct hook_ops *ops = ops_of(attach);
	struct kernel_link_view view = { .state = KERNEL_LINK_ATTACHED };
	const bool by_map = is_map(attach);
	struct bpf_link_info info;
	int r;

	/* Of maps, too, the kernel tells type and id first. */
	r = link_info(fd, &info, err);
	if (r < 0)
		return r;
	if (info.type != (by_map ? ops->map_type : ops->link_type))
		return error_raise(err, ERROR_TARGET_CHANGED, "what is pinned is no link to %.200s",
				   hook_text(attach->hook));
	if (by_map) {
		*ret = view;
		if (ret_id != NULL)
			*ret_id = info.id;
		return 0;
	}
	view.program_id = info.prog_id;
	if (info.prog_id != attach->program_id && attach->program_id != 0 && !ops->is_of_map)
		hook_differs(&view, KERNEL_LINK_DRIFTED, "program %u runs there instead of %u",
			     info.prog_id, attach->program_id);
	r = ops->compare(attach, fd, &info, &view, err);
	if (r < 0)
		return r;
	*ret = view;
	if (ret_id != NULL)
		*ret_id = info.id;
	if (ret_id != NULL && attach->context != NULL)
		order_learn(attach->context->order, attach->hook, &info);
	return 0;
}

int kernel_describe(const struct kernel_attach *attach, const struct kernel_link *link,
		    struct kernel_link_view *ret, struct error *err)
{
	if (link->form == KERNEL_LINK_SELECTOR) {
		*ret = (struct kernel_link_view){ .state = KERNEL_LINK_ATTACHED };
		return 0;
	}
	if (link->form == KERNEL_LINK_CLSACT)
		return clsact_describe(attach, ret, err);
	return describe_fd(attach, link->fd, ret, NULL, err);
}

int kernel_adopt(const struct kernel_attach *attach, int pinned_fd, struct kernel_link *ret,
		 struct kernel_link_view *ret_view, struct error *err)
{
	struct kernel_link_view view = { 0 };
	uint32_t id = 0;
	int r;

	if (pinned_fd >= 0) {
		r = describe_fd(attach, pinned_fd, ret_view, &id, err);
		if (r == 0)
			*ret = (struct kernel_link){ .form = KERNEL_LINK_FD,
						     .fd = pinned_fd,
						     .id = id };
		return r;
	}
	if (hook_selector(attach->hook) != NULL) {
		*ret = (struct kernel_link){ .form = KERNEL_LINK_SELECTOR, .fd = -1 };
		*ret_view = (struct kernel_link_view){ .state = KERNEL_LINK_ATTACHED };
		return 0;
	}
	if (hook_kind(attach->hook) != HOOK_TC || hook_netns(attach->hook) != NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no link is pinned");
	r = clsact_describe(attach, &view, err);
	if (r < 0)
		return r;
	if (view.state != KERNEL_LINK_ATTACHED)
		return error_raise(err, ERROR_NOT_FOUND, "no link is pinned, and %s", view.reason);
	*ret = (struct kernel_link){ .form = KERNEL_LINK_CLSACT, .fd = -1 };
	*ret_view = view;
	return 0;
}

void kernel_link_close(struct kernel_link *link)
{
	if (link->fd >= 0)
		(void)close(link->fd);
	*link = KERNEL_LINK_NONE;
}

int kernel_detach(const struct kernel_attach *attach, struct kernel_link *link, struct error *err)
{
	int r = 0;

	if (attach->context != NULL)
		order_forget(attach->context->order, link->id);
	if (link->form == KERNEL_LINK_CLSACT)
		r = clsact_detach(attach, err);
	else if (link->form == KERNEL_LINK_SOCKET)
		r = socket_detach(attach, err);
	else if (link->fd >= 0 && is_map(attach))
		perf_detach(link->fd);
	else if (link->fd >= 0 && ops_of(attach)->detachable && bpf_link_detach(link->fd) < 0 &&
		 errno != ENOLINK)
		r = error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot detach from %.200s",
				      hook_text(attach->hook));
	kernel_link_close(link);
	return r;
}

char *kernel_hook_path(const char *kind_name, const void *target, size_t n)
{
	_cleanup_free_ char *root = NULL;
	enum hook_kind kind;
	char *path = NULL;

	if (!hook_kind_from_name(kind_name, &kind) ||
	    hook_kind_info(kind)->target_form != HOOK_FORM_PATH)
		return NULL;
	if (kinds[kind]->link_type == BPF_LINK_TYPE_CGROUP && cgroup_hierarchy(&root, NULL) < 0)
		return NULL;
	if (root != NULL && n >= strlen(root) && memcmp(target, root, strlen(root)) == 0)
		root[0] = '\0';
	if (asprintf(&path, "%s%.*s", root != NULL ? root : "", (int)n, (const char *)target) < 0)
		return NULL;
	return path;
}

const char *kernel_hook_kind(size_t i)
{
	return i < HOOK_N_KINDS ? hook_kind_info((enum hook_kind)i)->name : NULL;
}

void kernel_probe(size_t i, struct kernel_support *ret)
{
	*ret = (struct kernel_support){ .kind = kernel_hook_kind(i) };
	kinds[i]->probe(ret);
}

void kernel_probe_map(size_t i, struct kernel_support *ret)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .btf_vmlinux_value_type_id = 1);
	int r;

	errno = 0;
	/* Of a type that is no table of functions the kernel says so; libbpf asks it in a way that
	 * kernels before 6.9 do not understand. */
	if (map_types[i].number == BPF_MAP_TYPE_STRUCT_OPS)
		r = bpf_map_create(BPF_MAP_TYPE_STRUCT_OPS, "probe", 4, 4, 1, &opts) < 0 &&
		    errno == 524;
	else
		r = libbpf_probe_bpf_map_type((enum bpf_map_type)map_types[i].number, NULL);
	*ret = (struct kernel_support){ .kind = map_types[i].name, .supported = r == 1 };
	if (r != 1)
		(void)snprintf(ret->detail, sizeof(ret->detail), "making one fails: %s",
			       error_errno_name(r < 0 ? -r : errno));
}

int hook_try_load(enum bpf_prog_type type, enum bpf_attach_type expected, uint32_t btf_id,
		  int *ret_fd)
{
	/* r0 = 0; exit. Some calls on addresses cannot be refused: their programs return 1. */
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_0,
		  .imm = type == BPF_PROG_TYPE_CGROUP_SOCK_ADDR },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = expected,
		    .attach_btf_id = btf_id);
	const int fd = bpf_prog_load(type, "probe", "GPL", insns, 2, &opts);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

void hook_probe_load(enum bpf_prog_type type, enum bpf_attach_type expected,
		     struct kernel_support *ret)
{
	_cleanup_close_ int fd = -1;
	const int r = hook_try_load(type, expected, 0, &fd);

	ret->supported = r == 0;
	if (r < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail), "loading one fails: %s",
			       error_errno_name(-r));
}
