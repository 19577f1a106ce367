/*
 * perf events, which tracepoints and kprobes are, too. perf_event itself: a program runs at every
 * sample. An event belongs to one CPU or one task, so that sampling the whole host takes one for
 * each CPU; a map of perf events holds them all, and is pinned and closed as one link would be.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/mapread/mapread.h"

#define MAP_NAME "perf_events"

int perf_open(struct perf_event_attr *attr, int32_t pid, int32_t cpu)
{
	long fd;

	attr->size = sizeof(*attr);
	attr->disabled = 1;
	fd = syscall(SYS_perf_event_open, attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

/* What kernel.perf_event_paranoid says; -2 if it cannot be read. */
static int paranoid(void)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
	int value = -2;

	return file != NULL && fscanf(file, "%d", &value) == 1 ? value : -2;
}

static int raise_refused(int sys_errno, const char *instead, struct error *err)
{
	return error_raise_errno(
		err, ERROR_KERNEL_UNSUPPORTED, sys_errno,
		"this kernel refuses perf events: kernel.perf_event_paranoid is %d, and 2 or less "
		"is needed (docs/operations.md); %s none",
		paranoid(), instead);
}

static int raise_event(const struct kernel_attach *attach, int sys_errno, struct error *err)
{
	if (sys_errno == EACCES || sys_errno == EPERM)
		return raise_refused(sys_errno, "raw_tp, tp_btf, fentry and kprobe_multi need",
				     err);
	if (sys_errno == ENOENT || sys_errno == EOPNOTSUPP)
		return error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, sys_errno,
					 "this machine does not count that: %.200s",
					 hook_text(attach->hook));
	return hook_raise_attach(attach, sys_errno, err);
}

/* Puts the program on an event that is open and starts it. */
static int link_event(const struct kernel_attach *attach, int event, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = bpf_link_create(attach->program_fd, event, BPF_PERF_EVENT, NULL);

	if (fd < 0 && errno == EACCES)
		return error_raise_errno(err, ERROR_INVALID_HOOK, errno,
					 "the program reads past the record of %.200s",
					 hook_text(attach->hook));
	if (fd < 0 || ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return hook_raise_attach(attach, errno, err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int perf_attach(const struct kernel_attach *attach, struct perf_event_attr *attr, int32_t pid,
		int32_t cpu, int *ret_fd, struct error *err)
{
	_cleanup_close_ int event = perf_open(attr, pid, cpu);

	return event < 0 ? raise_event(attach, -event, err)
			 : link_event(attach, event, ret_fd, err);
}

void perf_probe(enum bpf_prog_type type, struct perf_event_attr *attr, struct kernel_support *ret)
{
	int event;

	hook_probe_load(type, 0, ret);
	if (!ret->supported)
		return;
	event = perf_open(attr, -1, 0);
	if (event >= 0)
		(void)close(event);
	if (event != -EACCES && event != -EPERM && event != -ENOSYS)
		return;
	ret->supported = false;
	(void)snprintf(
		ret->detail, sizeof(ret->detail),
		"perf events are refused: %s; kernel.perf_event_paranoid is %d, must be <= 2",
		error_errno_name(-event), paranoid());
}

int perf_compare(int link_fd, const struct bpf_link_info *info, uint32_t type, const char *name,
		 struct kernel_link_view *view, struct error *err)
{
	struct bpf_link_info named = { 0 };
	uint32_t size = sizeof(named);
	char found[512] = "";

	/* Before Linux 6.6 a link does not say what event it is on. */
	if (info->perf_event.type == BPF_PERF_EVENT_UNSPEC)
		return 0;
	if (info->perf_event.type != type) {
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on a perf event of another type");
		return 0;
	}
	if (name == NULL)
		return 0;
	/* Tracepoints and kprobes have their name in the same place. */
	named.perf_event.tracepoint.tp_name = (uintptr_t)found;
	named.perf_event.tracepoint.name_len = sizeof(found);
	if (bpf_link_get_info_by_fd(link_fd, &named, &size) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a link");
	if (strcmp(found, name) != 0)
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on %.100s", found);
	return 0;
}

/* ---- sampling */

#define SOFTWARE(name) PERF_TYPE_SOFTWARE, PERF_COUNT_SW_##name
#define HARDWARE(name) PERF_TYPE_HARDWARE, PERF_COUNT_HW_##name

static const struct {
	const char *name;
	uint32_t type;
	uint64_t config;
} events[] = {
	{ "cpu-clock", SOFTWARE(CPU_CLOCK) },
	{ "task-clock", SOFTWARE(TASK_CLOCK) },
	{ "page-faults", SOFTWARE(PAGE_FAULTS) },
	{ "minor-faults", SOFTWARE(PAGE_FAULTS_MIN) },
	{ "major-faults", SOFTWARE(PAGE_FAULTS_MAJ) },
	{ "context-switches", SOFTWARE(CONTEXT_SWITCHES) },
	{ "cpu-migrations", SOFTWARE(CPU_MIGRATIONS) },
	{ "alignment-faults", SOFTWARE(ALIGNMENT_FAULTS) },
	{ "emulation-faults", SOFTWARE(EMULATION_FAULTS) },
	{ "cycles", HARDWARE(CPU_CYCLES) },
	{ "instructions", HARDWARE(INSTRUCTIONS) },
	{ "cache-references", HARDWARE(CACHE_REFERENCES) },
	{ "cache-misses", HARDWARE(CACHE_MISSES) },
	{ "branches", HARDWARE(BRANCH_INSTRUCTIONS) },
	{ "branch-misses", HARDWARE(BRANCH_MISSES) },
	{ "bus-cycles", HARDWARE(BUS_CYCLES) },
	{ "ref-cycles", HARDWARE(REF_CPU_CYCLES) },
};

/* An option's number, which the grammar has checked; -1: it is not given. */
static int64_t number(const struct hook *hook, const char *key)
{
	const char *text = hook_option(hook, key);
	uint64_t value = 0;

	return text != NULL && str_to_u64(text, UINT32_MAX, &value) == 0 ? (int64_t)value : -1;
}

static int read_event(const struct hook *hook, struct perf_event_attr *attr, struct error *err)
{
	const int64_t freq = number(hook, "freq"), period = number(hook, "period");

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (strcmp(events[i].name, hook_target(hook)) == 0) {
			attr->type = events[i].type;
			attr->config = events[i].config;
		}
	}
	if ((freq > 0) == (period > 0))
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s: say how often, either freq=N a second or every period=N",
				   hook_text(hook));
	attr->freq = freq > 0;
	attr->sample_freq = (uint64_t)(freq > 0 ? freq : period);
	return 0;
}

static bool is_whole_host(const struct hook *hook)
{
	return hook_option(hook, "cpu") == NULL && hook_option(hook, "pid") == NULL;
}

/* An event on one CPU into the map, which keeps it open. A CPU that is off has none. */
static int add_cpu(const struct kernel_attach *attach, struct perf_event_attr *attr, int map_fd,
		   uint32_t cpu, struct error *err)
{
	_cleanup_close_ int event = perf_open(attr, -1, (int32_t)cpu);

	if (event == -ENODEV)
		return 0;
	if (event < 0)
		return raise_event(attach, -event, err);
	if (ioctl(event, PERF_EVENT_IOC_SET_BPF, attach->program_fd) < 0 ||
	    ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0 ||
	    bpf_map_update_elem(map_fd, &cpu, &event, BPF_ANY) < 0)
		return hook_raise_attach(attach, errno, err);
	return 1;
}

static int attach_host(const struct kernel_attach *attach, struct perf_event_attr *attr,
		       int *ret_fd, struct error *err)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_PRESERVE_ELEMS);
	const int n_cpus = mapread_possible_cpus();
	_cleanup_close_ int map_fd = -1;
	int n_events = 0, r;

	if (n_cpus < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -n_cpus,
					 "cannot count the possible CPUs");
	map_fd = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, MAP_NAME, sizeof(uint32_t),
				sizeof(int), (uint32_t)n_cpus, &opts);
	if (map_fd < 0)
		return hook_raise_attach(attach, errno, err);
	for (int cpu = 0; cpu < n_cpus; cpu++) {
		r = add_cpu(attach, attr, map_fd, (uint32_t)cpu, err);
		if (r < 0)
			return r;
		n_events += r;
	}
	if (n_events == 0)
		return hook_raise_attach(attach, ENODEV, err);
	*ret_fd = TAKE_FD(map_fd);
	return 0;
}

int kernel_perf_output(int map_fd, uint32_t map_id, uint32_t cpu, int *ret_fd, struct error *err)
{
	/* How long it was on its CPU, and how many records it had no room for. */
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.config = PERF_COUNT_SW_BPF_OUTPUT,
					.sample_type = PERF_SAMPLE_RAW,
					.sample_period = 1,
					.read_format =
						PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_LOST };
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	_cleanup_close_ int event = -1;

	if (bpf_map_get_info_by_fd(map_fd, &info, &size) < 0 || info.id != map_id ||
	    cpu >= info.max_entries)
		return error_raise(err, ERROR_PROTOCOL, "that is no file of the map");
	event = perf_open(&attr, -1, (int32_t)cpu);
	if (event == -ENODEV)
		return 0;
	if (event == -EACCES || event == -EPERM)
		return raise_refused(-event, "a ring buffer needs", err);
	if (event < 0 || ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0 ||
	    bpf_map_update_elem(map_fd, &cpu, &event, BPF_ANY) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, event < 0 ? -event : errno,
					 "cannot open the perf buffer of CPU %u", cpu);
	*ret_fd = TAKE_FD(event);
	return 0;
}

/*
 * Closing the map would do, but only when a worker of the kernel comes to free it: until then the
 * program would be sampled.
 */
void perf_detach(int map_fd)
{
	const int n_cpus = mapread_possible_cpus();

	for (int cpu = 0; cpu < n_cpus; cpu++)
		(void)bpf_map_delete_elem(map_fd, &cpu);
	/* An event goes a grace period after its entry, when the work that this queues has run. */
	for (int i = 0; i < 2; i++)
		(void)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static int attach_perf_event(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	struct perf_event_attr attr = { 0 };
	const int64_t cpu = number(attach->hook, "cpu"), pid = number(attach->hook, "pid");
	int r;

	r = read_event(attach->hook, &attr, err);
	if (r < 0)
		return r;
	if (is_whole_host(attach->hook))
		return attach_host(attach, &attr, ret_fd, err);
	/* What the task starts from now on is sampled, too. */
	attr.inherit = pid > 0;
	r = perf_attach(attach, &attr, (int32_t)pid, (int32_t)cpu, ret_fd, err);
	if (r < 0 && err != NULL && err->sys_errno == ESRCH)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no process %d", (int)pid);
	return r;
}

static int compare_perf_event(const struct kernel_attach *attach, int link_fd,
			      const struct bpf_link_info *info, struct kernel_link_view *view,
			      struct error *err)
{
	(void)attach;
	return perf_compare(link_fd, info, BPF_PERF_EVENT_EVENT, NULL, view, err);
}

static void probe_perf_event(struct kernel_support *ret)
{
	/* A second between two samples: gone before the first. */
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.config = PERF_COUNT_SW_CPU_CLOCK,
					.sample_period = 1000000000 };

	perf_probe(BPF_PROG_TYPE_PERF_EVENT, &attr, ret);
}

const struct hook_ops hook_perf_event = {
	.link_type = BPF_LINK_TYPE_PERF_EVENT,
	.load_as = HOOK_AS_IS,
	.map_type = BPF_MAP_TYPE_PERF_EVENT_ARRAY,
	.is_map = is_whole_host,
	.attach = attach_perf_event,
	.compare = compare_perf_event,
	.probe = probe_perf_event,
};
