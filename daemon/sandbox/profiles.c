#define _GNU_SOURCE
#include "daemon/sandbox/profiles.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define ALL UINT64_C(0xffffffff)
#define CLONE_NEW_ANY                                                                            \
	((uint64_t)CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)
#define SOCKET_TYPE UINT64_C(0xf)
#define PR_SET_VMA 0x53564d41 /* names of heap areas, as malloc sets them */

#define ANY(name)            \
	{                    \
		.call = name \
	}
#define ONE(name, n, equals)                                              \
	{                                                                 \
		.call = name, .where = { { n, ALL, (uint64_t)(equals) } } \
	}
#define BITS(name, n, bits, equals)                            \
	{                                                      \
		.call = name, .where = { { n, bits, equals } } \
	}
#define SET(name)                                                          \
	{                                                                  \
		.rules = name##_rules, .n_rules = ARRAY_SIZE(name##_rules) \
	}

/* Memory, time, signals, own identity: what every process does. */
static const struct profile_rule basic_rules[] = {
	ANY("brk"),
	ANY("clock_getres"),
	ANY("clock_gettime"),
	ANY("clock_nanosleep"),
	ANY("close"),
	ANY("exit"),
	ANY("exit_group"),
	ANY("fcntl"),
	ANY("fstat"),
	ANY("futex"),
	ANY("getegid"),
	ANY("geteuid"),
	ANY("getgid"),
	ANY("getgroups"),
	ANY("getpid"),
	ANY("getppid"),
	ANY("getrandom"),
	ANY("gettid"),
	ANY("gettimeofday"),
	ANY("getuid"),
	ANY("lseek"),
	ANY("madvise"),
	ANY("mremap"),
	ANY("munmap"),
	ANY("nanosleep"),
	ANY("newfstatat"),
	ANY("pread64"),
	ANY("read"),
	ANY("readv"),
	ANY("restart_syscall"),
	ANY("rt_sigaction"),
	ANY("rt_sigprocmask"),
	ANY("rt_sigreturn"),
	ANY("sigaltstack"),
	ANY("sysinfo"),
	ANY("tgkill"),
	ANY("time"),
	ANY("uname"),
	ANY("write"),
	ANY("writev"),
	ONE("prctl", 0, PR_SET_NAME),
	ONE("prctl", 0, PR_SET_VMA),
	/* A look at one's own limits; another process cannot be named. */
	ONE("prlimit64", 0, 0),
};
static const struct profile_set basic = SET(basic);

/* No new code: nothing becomes executable after start. */
static const struct profile_rule no_new_code_rules[] = {
	BITS("mmap", 2, PROT_EXEC, 0),
	BITS("mprotect", 2, PROT_EXEC, 0),
};
static const struct profile_set no_new_code = SET(no_new_code);

/* What exec and the dynamic linker do before main, for those that start other programs. */
static const struct profile_rule start_rules[] = {
	ANY("access"),
	ANY("arch_prctl"),
	ANY("close_range"),
	ANY("dup2"),
	ANY("dup3"),
	ANY("execve"),
	ANY("mmap"),
	ANY("mprotect"),
	ANY("rseq"),
	ANY("set_robust_list"),
	ANY("set_tid_address"),
	BITS("clone", 0, CLONE_NEW_ANY, 0),
	ANY("vfork"),
	ANY("wait4"),
	ANY("waitid"),
	ANY("kill"),
	ANY("pidfd_open"),
	ANY("pidfd_send_signal"),
	ANY("setrlimit"),
	/* The child locks itself further; that can only take away. */
	ONE("prctl", 0, PR_SET_DUMPABLE),
	ONE("prctl", 0, PR_SET_NO_NEW_PRIVS),
	ONE("prctl", 0, PR_SET_PDEATHSIG),
	ONE("seccomp", 0, SECCOMP_SET_MODE_FILTER),
};
static const struct profile_set start = SET(start);

/* Threads, but no processes and no namespaces. */
static const struct profile_rule thread_rules[] = {
	BITS("clone", 0, CLONE_NEW_ANY | CLONE_THREAD, CLONE_THREAD),
	ANY("get_robust_list"),
	ANY("getcpu"),
	ANY("getrusage"),
	ANY("membarrier"),
	ANY("rseq"),
	ANY("sched_getaffinity"),
	ANY("sched_getparam"),
	ANY("sched_getscheduler"),
	ANY("sched_setaffinity"),
	ANY("sched_yield"),
	ANY("set_robust_list"),
};
static const struct profile_set thread = SET(thread);

/* Waiting for events, and messages on sockets that are already there. */
static const struct profile_rule event_rules[] = {
	ANY("dup"),
	ANY("epoll_create1"),
	ANY("epoll_ctl"),
	ANY("epoll_pwait"),
	ANY("epoll_wait"),
	ANY("eventfd2"),
	ANY("getpeername"),
	ANY("getsockname"),
	ANY("getsockopt"),
	ANY("memfd_create"),
	ANY("ftruncate"),
	ANY("pipe2"),
	ANY("poll"),
	ANY("ppoll"),
	ANY("recvfrom"),
	ANY("recvmsg"),
	ANY("sendmsg"),
	ANY("sendto"),
	ANY("setsockopt"),
	ANY("shutdown"),
	ANY("signalfd4"),
	ANY("timerfd_create"),
	ANY("timerfd_gettime"),
	ANY("timerfd_settime"),
	ONE("socketpair", 0, AF_UNIX),
	ONE("ioctl", 1, FIONREAD),
	ONE("ioctl", 1, FIONBIO),
	ONE("ioctl", 1, TCGETS),
};
static const struct profile_set event = SET(event);

/* bpf(2) of core: make, load, pin, attach, read, write; nothing that reaches objects by id. */
static const struct profile_rule core_bpf_rules[] = {
	ONE("bpf", 0, BPF_MAP_CREATE),
	ONE("bpf", 0, BPF_MAP_LOOKUP_ELEM),
	ONE("bpf", 0, BPF_MAP_UPDATE_ELEM),
	ONE("bpf", 0, BPF_MAP_DELETE_ELEM),
	ONE("bpf", 0, BPF_MAP_LOOKUP_AND_DELETE_ELEM),
	ONE("bpf", 0, BPF_MAP_GET_NEXT_KEY),
	ONE("bpf", 0, BPF_MAP_LOOKUP_BATCH),
	ONE("bpf", 0, BPF_MAP_UPDATE_BATCH),
	ONE("bpf", 0, BPF_MAP_DELETE_BATCH),
	ONE("bpf", 0, BPF_MAP_FREEZE),
	ONE("bpf", 0, BPF_PROG_LOAD),
	ONE("bpf", 0, BPF_PROG_BIND_MAP),
	ONE("bpf", 0, BPF_PROG_QUERY),
	ONE("bpf", 0, BPF_PROG_TEST_RUN),
	ONE("bpf", 0, BPF_BTF_LOAD),
	ONE("bpf", 0, BPF_OBJ_PIN),
	ONE("bpf", 0, BPF_OBJ_GET),
	ONE("bpf", 0, BPF_OBJ_GET_INFO_BY_FD),
	ONE("bpf", 0, BPF_RAW_TRACEPOINT_OPEN),
	ONE("bpf", 0, BPF_LINK_CREATE),
	ONE("bpf", 0, BPF_LINK_UPDATE),
	ONE("bpf", 0, BPF_LINK_DETACH),
	ONE("bpf", 0, BPF_ITER_CREATE),
	ANY("perf_event_open"),
	ONE("ioctl", 1, PERF_EVENT_IOC_SET_BPF),
	ONE("ioctl", 1, PERF_EVENT_IOC_ENABLE),
	ONE("ioctl", 1, PERF_EVENT_IOC_DISABLE),
	ONE("ioctl", 1, PERF_EVENT_IOC_QUERY_BPF),
};
static const struct profile_set core_bpf = SET(core_bpf);

/* The database, the pins, target binaries and cgroups; rtnetlink and the names of interfaces. */
static const struct profile_rule core_file_rules[] = {
	ANY("access"),
	/* libbpf moves a new map to the number that the instructions already name. */
	ANY("dup3"),
	ANY("faccessat"),
	ANY("faccessat2"),
	ANY("fallocate"),
	ANY("fchmod"),
	ANY("fdatasync"),
	ANY("flock"),
	ANY("fstatfs"),
	ANY("fsync"),
	ANY("getcwd"),
	ANY("getdents64"),
	ANY("inotify_add_watch"),
	ANY("inotify_init1"),
	ANY("mkdir"),
	ANY("mkdirat"),
	ANY("mlock"),
	ANY("munlock"),
	ANY("name_to_handle_at"),
	ANY("openat"),
	ANY("pidfd_open"),
	ANY("pwrite64"),
	ANY("readlink"),
	ANY("readlinkat"),
	ANY("rename"),
	ANY("renameat"),
	ANY("renameat2"),
	ANY("rmdir"),
	ANY("statfs"),
	ANY("statx"),
	ANY("umask"),
	ANY("unlink"),
	ANY("unlinkat"),
	{ .call = "socket", .where = { { 0, ALL, AF_NETLINK }, { 2, ALL, NETLINK_ROUTE } } },
	{ .call = "socket", .where = { { 0, ALL, AF_UNIX }, { 1, SOCKET_TYPE, SOCK_DGRAM } } },
	ANY("bind"),
	ONE("ioctl", 1, SIOCGIFINDEX),
	ONE("ioctl", 1, SIOCGIFNAME),
};
static const struct profile_set core_file = SET(core_file);

/* Serving clients: sockets that others made, files read-only, and of bpf(2) reading a granted map.
 */
static const struct profile_rule front_rules[] = {
	ONE("bpf", 0, BPF_MAP_LOOKUP_ELEM),
	ONE("bpf", 0, BPF_MAP_LOOKUP_BATCH),
	ONE("bpf", 0, BPF_MAP_GET_NEXT_KEY),
	ONE("bpf", 0, BPF_OBJ_GET_INFO_BY_FD),
	ANY("accept"),
	ANY("accept4"),
	ANY("readlink"),
	ANY("statx"),
	/* SIOCOUTQ: how much of a portion gRPC has still to read (rpc/pump.h). */
	ONE("ioctl", 1, TIOCOUTQ),
	BITS("openat", 2, O_ACCMODE | O_CREAT, O_RDONLY),
};
static const struct profile_set front = SET(front);

/* Reads fd 0, writes fd 1. */
static const struct profile_rule resolver_rules[] = {
	ANY("brk"),
	ANY("close"),
	ANY("exit_group"),
	ANY("fstat"),
	ANY("futex"),
	ANY("getrandom"),
	ANY("lseek"),
	ANY("madvise"),
	ANY("mremap"),
	ANY("munmap"),
	ANY("newfstatat"),
	ANY("pread64"),
	ANY("read"),
	ANY("rt_sigreturn"),
	ONE("fcntl", 1, F_GETFD),
	ONE("fcntl", 1, F_GETFL),
	ONE("write", 0, 1),
};
static const struct profile_set resolver = SET(resolver);

/* One message in, one namespace to enter, one link to make, one message out. */
static const struct profile_rule netns_rules[] = {
	ANY("fstatfs"),
	ANY("poll"),
	ANY("recvmsg"),
	ANY("sendmsg"),
	BITS("openat", 2, O_ACCMODE | O_CREAT, O_RDONLY),
	ONE("setns", 1, CLONE_NEWNET),
	ANY("capset"),
	ONE("prctl", 0, PR_CAP_AMBIENT),
	{ .call = "socket", .where = { { 0, ALL, AF_UNIX }, { 1, SOCKET_TYPE, SOCK_DGRAM } } },
	ONE("ioctl", 1, SIOCGIFINDEX),
	ONE("bpf", 0, BPF_LINK_CREATE),
};
static const struct profile_set netns = SET(netns);

/* Giving children their identity, answering core, stopping. */
static const struct profile_rule supervisor_rules[] = {
	ONE("bpf", 0, BPF_ENABLE_STATS),
	ANY("capset"),
	ANY("chdir"),
	ANY("fchdir"),
	ANY("landlock_add_rule"),
	ANY("landlock_create_ruleset"),
	ANY("landlock_restrict_self"),
	ANY("openat"),
	ANY("setgroups"),
	ANY("setresgid"),
	ANY("setresuid"),
	ANY("unlink"),
	ONE("prctl", 0, PR_CAPBSET_DROP),
	ONE("prctl", 0, PR_CAPBSET_READ),
	ONE("prctl", 0, PR_CAP_AMBIENT),
	ONE("prctl", 0, PR_SET_SECUREBITS),
};
static const struct profile_set supervisor = SET(supervisor);

static const struct profile_rule sanitizer_rules[] = {
	ANY("clone"),
	ANY("dup2"),
	ANY("execve"),
	ANY("getdents64"),
	ANY("gettid"),
	ANY("kill"),
	ANY("mmap"),
	ANY("mprotect"),
	ANY("openat"),
	ANY("personality"),
	ANY("pipe2"),
	ANY("prctl"),
	ANY("process_vm_readv"),
	ANY("ptrace"),
	ANY("readlink"),
	ANY("rt_sigaction"),
	ANY("rt_sigprocmask"),
	ANY("sched_getaffinity"),
	ANY("sched_yield"),
	ANY("sigaltstack"),
	ANY("tgkill"),
	ANY("unlink"),
	ANY("wait4"),
	ANY("write"),
	ANY("getpid"),
	ANY("readlinkat"),
	ANY("prlimit64"),
	ANY("set_robust_list"),
	ANY("rseq"),
	ANY("uname"),
};
const struct profile_set profile_sanitizers = SET(sanitizer);

#define KILL_ALL                                                                                   \
	"acct", "add_key", "chroot", "create_module", "delete_module", "finit_module", "fsconfig", \
		"fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",                    \
		"io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp",                   \
		"kexec_file_load", "kexec_load", "keyctl", "modify_ldt", "mount", "mount_setattr", \
		"move_mount", "move_pages", "open_by_handle_at", "open_tree", "personality",       \
		"pidfd_getfd", "pivot_root", "process_vm_readv", "process_vm_writev", "ptrace",    \
		"quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname",               \
		"sethostname", "settimeofday", "swapoff", "swapon", "syslog", "umount2",           \
		"unshare", "userfaultfd", "vhangup"

/* Those who start others, and those who never do; and what bpfleet-netns inherits, and itself. */
static const char *const kill_all[] = { KILL_ALL, "setns" };
static const char *const kill_exec[] = { KILL_ALL, "setns", "execve", "execveat" };
static const char *const kill_but_setns[] = { KILL_ALL };
static const char *const kill_exec_but_setns[] = { KILL_ALL, "execve", "execveat" };

/* A filter stays on across exec, so whoever starts a program also allows what that one needs. */
static const struct profile_set *const supervisor_sets[] = {
	&basic,	   &start,     &thread, &event,	   &supervisor,
	&core_bpf, &core_file, &front,	&resolver, &netns,
};
static const struct profile_set *const core_sets[] = {
	&basic, &no_new_code, &thread, &event, &core_bpf, &core_file,
};
static const struct profile_set *const front_sets[] = {
	&basic, &start, &thread, &event, &front, &resolver,
};
static const struct profile_set *const netns_sets[] = { &basic, &no_new_code, &netns };
static const struct profile_set *const resolver_sets[] = { &no_new_code, &resolver };

#define PROFILE(who, deadly)                                                        \
	{                                                                           \
		.name = #who, .sets = who##_sets, .n_sets = ARRAY_SIZE(who##_sets), \
		.kill = deadly, .n_kill = ARRAY_SIZE(deadly)                        \
	}

const struct profile profiles[] = {
	PROFILE(supervisor, kill_but_setns),
	PROFILE(core, kill_exec),
	PROFILE(front, kill_all),
	PROFILE(resolver, kill_exec),
	PROFILE(netns, kill_exec_but_setns),
};
const size_t n_profiles = ARRAY_SIZE(profiles);
