#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"
#include "daemon/host/host.h"

/* Letters, digits, underscore, hyphen: no tracepoint has other characters, and no path can be made.
 */
static bool is_name(const char *name, size_t max)
{
	size_t len = strnlen(name, max);

	return len > 0 && len < max &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
		       len;
}

int host_tracepoint_id(const struct host *host, const char *category, const char *name, size_t max,
		       uint64_t *ret)
{
	char path[256], text[24] = "";
	_cleanup_close_ int fd = -1;

	if (!is_name(category, max) || !is_name(name, max) ||
	    snprintf(path, sizeof(path), "%s/%s/id", category, name) >= (int)sizeof(path))
		return -EINVAL;
	fd = openat(host->tracefs_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) <= 0)
		return -EIO;
	text[strcspn(text, "\n")] = '\0';
	return str_to_u64(text, UINT32_MAX, ret) < 0 ? -EIO : 0;
}

int host_stats_fd(int *ret_fd)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.enable_stats.type = BPF_STATS_RUN_TIME;
	fd = (int)syscall(SYS_bpf, BPF_ENABLE_STATS, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}
