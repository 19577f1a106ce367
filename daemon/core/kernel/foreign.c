#include "daemon/core/kernel/foreign.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "foreign.skel.h"

#define RECORDS_MAX 65536

DEFINE_CLEANUP(struct foreign_bpf, foreign_bpf__destroy)

static int run(const struct bpf_program *program, struct str *out, struct error *err)
{
	const int link = bpf_link_create(bpf_program__fd(program), 0, BPF_TRACE_ITER, NULL);
	_cleanup_close_ int link_fd = link;
	_cleanup_close_ int fd = link < 0 ? -1 : bpf_iter_create(link);
	char buffer[64 * sizeof(struct foreign_record)];
	ssize_t n;

	do {
		n = fd < 0 ? -1 : read(fd, buffer, sizeof(buffer));
		if (n > 0)
			(void)str_append_bytes(out, buffer, (size_t)n);
		if (out->len > RECORDS_MAX * sizeof(struct foreign_record))
			return error_raise(err, ERROR_LIMIT_EXCEEDED,
					   "more than %d programs and links are on this host",
					   RECORDS_MAX);
	} while (n > 0 || (n < 0 && errno == EAGAIN && fd >= 0));
	return n < 0 ? error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot list the host's programs and links")
		     : 0;
}

int kernel_foreign_list(struct foreign_record **ret, size_t *ret_n, struct error *err)
{
	_cleanup_(foreign_bpf__destroyp) struct foreign_bpf *bpf = foreign_bpf__open();
	_cleanup_(str_done) struct str out = { 0 };
	int r;

	if (bpf == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot list the host's programs");
	bpf->rodata->own_uid = geteuid();
	r = foreign_bpf__load(bpf);
	if (r < 0)
		return error_raise_errno(
			err, ERROR_KERNEL_UNSUPPORTED, -r,
			"this kernel does not list programs and links by iterators");
	r = run(bpf->progs.list_programs, &out, err);
	if (r == 0)
		r = run(bpf->progs.list_links, &out, err);
	if (r < 0)
		return r;
	if (out.failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot list the host's programs");
	*ret_n = out.len / sizeof(**ret);
	*ret = (struct foreign_record *)(void *)TAKE_PTR(out.data);
	return 0;
}
