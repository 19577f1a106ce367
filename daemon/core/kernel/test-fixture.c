#define _GNU_SOURCE
#include "daemon/core/kernel/test-fixture.h"

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "daemon/core/kernel/load-private.h"
#include "daemon/sandbox/sandbox.h"
#include "proto/arena.h"

#define NOBODY 65534
#define KEPT_CAPS \
	(UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_PERFMON | UINT64_C(1) << CAP_NET_ADMIN)

struct place place;

/* ---- bundles */

const char *fixture_folder = BPFLEET_FIXTURES;

static void *take(struct fixture *fixture, size_t size)
{
	void *memory = arena_alloc(fixture->arena, size);

	assert_non_null(memory);
	return memory;
}

static char *copy(struct fixture *fixture, const char *text)
{
	return strcpy(take(fixture, strlen(text) + 1), text);
}

static void read_file(struct fixture *fixture, const char *name, ProtobufCBinaryData *ret)
{
	char path[512];
	struct stat st;
	_cleanup_close_ int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/%s.bpf.o", fixture_folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	ret->len = (size_t)st.st_size;
	ret->data = take(fixture, ret->len);
	assert_int_equal(read(fd, ret->data, ret->len), st.st_size);
}

#define FIXTURE_MAX 128

static void describe_programs(struct fixture *fixture, const char *object_name,
			      struct bpf_object *object)
{
	Bpfleet__V1__Manifest *manifest = fixture->bundle.manifest;
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		Bpfleet__V1__ProgramSpec *spec = take(fixture, sizeof(*spec));

		bpfleet__v1__program_spec__init(spec);
		spec->object = copy(fixture, object_name);
		spec->name = copy(fixture, bpf_program__name(program));
		/* Of the fixtures' sections, libbpf before 1.5 does not know those of sessions. */
		spec->type = bpf_program__type(program) == BPF_PROG_TYPE_UNSPEC
				     ? copy(fixture, "kprobe")
				     : copy(fixture,
					    libbpf_bpf_prog_type_str(bpf_program__type(program)));
		spec->need = BPFLEET__V1__NEED__NEED_REQUIRED;
		assert_true(manifest->n_programs < FIXTURE_MAX);
		manifest->programs[manifest->n_programs++] = spec;
	}
}

static void describe_maps(struct fixture *fixture, const char *object_name,
			  struct bpf_object *object)
{
	Bpfleet__V1__Manifest *manifest = fixture->bundle.manifest;
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		Bpfleet__V1__MapSpec *spec = take(fixture, sizeof(*spec));

		bpfleet__v1__map_spec__init(spec);
		spec->object = copy(fixture, object_name);
		spec->name = copy(fixture, load_map_name(map));
		spec->type = copy(fixture, libbpf_bpf_map_type_str(bpf_map__type(map)));
		spec->key_size = bpf_map__key_size(map);
		spec->value_size = bpf_map__value_size(map);
		spec->max_entries = bpf_map__max_entries(map);
		spec->flags = bpf_map__map_flags(map);
		spec->access = BPFLEET__V1__ACCESS__ACCESS_WRITE;
		spec->contents = BPFLEET__V1__CONTENTS__CONTENTS_VOLATILE;
		assert_true(manifest->n_maps < FIXTURE_MAX);
		manifest->maps[manifest->n_maps++] = spec;
	}
}

static void describe(struct fixture *fixture, const char *name, size_t i)
{
	Bpfleet__V1__Object *bytes = take(fixture, sizeof(*bytes));
	Bpfleet__V1__ObjectSpec *spec = take(fixture, sizeof(*spec));
	struct bpf_object *object;

	bpfleet__v1__object__init(bytes);
	bpfleet__v1__object_spec__init(spec);
	bytes->name = copy(fixture, name);
	spec->name = bytes->name;
	read_file(fixture, name, &bytes->elf);
	fixture->bundle.objects[i] = bytes;
	fixture->bundle.manifest->objects[i] = spec;
	object = bpf_object__open_mem(bytes->elf.data, bytes->elf.len, NULL);
	assert_non_null(object);
	describe_programs(fixture, name, object);
	describe_maps(fixture, name, object);
	bpf_object__close(object);
}

void fixture_init(struct fixture *fixture, const char *const *names, size_t n)
{
	Bpfleet__V1__Manifest *manifest;

	fixture->arena = arena_new(1u << 20);
	assert_non_null(fixture->arena);
	bpfleet__v1__bundle__init(&fixture->bundle);
	manifest = take(fixture, sizeof(*manifest));
	bpfleet__v1__manifest__init(manifest);
	manifest->programs = take(fixture, FIXTURE_MAX * sizeof(void *));
	manifest->maps = take(fixture, FIXTURE_MAX * sizeof(void *));
	manifest->parameters = take(fixture, FIXTURE_MAX * sizeof(void *));
	manifest->objects = take(fixture, n * sizeof(void *));
	manifest->n_objects = n;
	fixture->bundle.manifest = manifest;
	fixture->bundle.objects = take(fixture, n * sizeof(void *));
	fixture->bundle.n_objects = n;
	for (size_t i = 0; i < n; i++)
		describe(fixture, names[i], i);
}

void fixture_done(struct fixture *fixture)
{
	arena_free(fixture->arena);
}

Bpfleet__V1__ProgramSpec *fixture_program(struct fixture *fixture, const char *name)
{
	const Bpfleet__V1__Manifest *manifest = fixture->bundle.manifest;

	for (size_t i = 0; i < manifest->n_programs; i++) {
		if (strcmp(manifest->programs[i]->name, name) == 0)
			return manifest->programs[i];
	}
	fail_msg("no program %s", name);
	return NULL;
}

Bpfleet__V1__MapSpec *fixture_map(struct fixture *fixture, const char *name)
{
	const Bpfleet__V1__Manifest *manifest = fixture->bundle.manifest;

	for (size_t i = 0; i < manifest->n_maps; i++) {
		if (strcmp(manifest->maps[i]->name, name) == 0)
			return manifest->maps[i];
	}
	fail_msg("no map %s", name);
	return NULL;
}

void fixture_set_hook(struct fixture *fixture, const char *program, const char *pattern)
{
	Bpfleet__V1__ProgramSpec *spec = fixture_program(fixture, program);

	spec->hooks = take(fixture, sizeof(char *));
	spec->hooks[0] = copy(fixture, pattern);
	spec->n_hooks = 1;
}

Bpfleet__V1__ParameterSpec *fixture_add_parameter(struct fixture *fixture, const char *object,
						  const char *name, Bpfleet__V1__ParameterType type,
						  uint32_t size_bytes)
{
	Bpfleet__V1__Manifest *manifest = fixture->bundle.manifest;
	Bpfleet__V1__ParameterSpec *spec = take(fixture, sizeof(*spec));

	bpfleet__v1__parameter_spec__init(spec);
	spec->object = copy(fixture, object);
	spec->name = copy(fixture, name);
	spec->type = type;
	spec->size_bytes = size_bytes;
	manifest->parameters[manifest->n_parameters++] = spec;
	return spec;
}

struct kernel_program *object_program(const struct kernel_object *object, const char *name)
{
	for (size_t i = 0; i < object->n_programs; i++) {
		if (strcmp(object->programs[i].name, name) == 0)
			return &object->programs[i];
	}
	fail_msg("no program %s was loaded", name);
	return NULL;
}

struct kernel_map *object_map(const struct kernel_object *object, const char *name)
{
	for (size_t i = 0; i < object->n_maps; i++) {
		if (strcmp(object->maps[i].name, name) == 0)
			return &object->maps[i];
	}
	fail_msg("no map %s was loaded", name);
	return NULL;
}

/* ---- the place */

/* A process that stays root and runs commands; a socket that is there before the sandbox. */
static int helper_fd = -1;
static int send_fd = -1;

#define COMMAND_MAX 512

static void helper(int fd)
{
	char command[COMMAND_MAX];
	int status;

	while (recv(fd, command, sizeof(command), 0) > 0) {
		status = system(command);
		if (send(fd, &status, sizeof(status), 0) < 0)
			break;
	}
	_exit(0);
}

static bool start_helper(void)
{
	int fds[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return false;
	child = fork();
	if (child == 0) {
		(void)close(fds[0]);
		helper(fds[1]);
	}
	(void)close(fds[1]);
	helper_fd = fds[0];
	return child > 0;
}

void place_command(const char *format, ...)
{
	char command[COMMAND_MAX];
	int status = -1;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	assert_true(send(helper_fd, command, strlen(command) + 1, 0) > 0);
	assert_int_equal(recv(helper_fd, &status, sizeof(status), 0), sizeof(status));
	if (status != 0)
		fail_msg("%s: status %d", command, status);
}

void place_send(unsigned int n)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons(7777),
					.sin_addr.s_addr = htonl(0x0a4d0002) };

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(
			sendto(send_fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
}

int place_socket(void)
{
	return send_fd;
}

size_t place_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n;
}

static int cannot(const char *what)
{
	(void)printf("cannot %s here: %s\n", what, error_errno_name(errno));
	return 77;
}

static bool write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static uint32_t read_number(const char *path)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	unsigned int number = 0;

	if (file == NULL || fscanf(file, "%u", &number) != 1)
		return 0;
	return number;
}

static bool find_cgroup2(char *ret, size_t size)
{
	_cleanup_fclose_ FILE *mounts = fopen("/proc/mounts", "re");
	char source[256], point[256], type[64], line[1024];

	while (mounts != NULL && fgets(line, sizeof(line), mounts) != NULL) {
		if (sscanf(line, "%255s %255s %63s", source, point, type) == 3 &&
		    strcmp(type, "cgroup2") == 0) {
			(void)snprintf(ret, size, "%s", point);
			return true;
		}
	}
	return false;
}

static bool drop_privileges(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return false;
	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(KEPT_CAPS >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = data[i].permitted;
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return false;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* One command for all: to start one takes long where the machine is emulated. */
static void make_network(void)
{
	place_command("printf '%%s\\n' 'link set lo up' "
		      "'link add v0 address 02:00:00:00:00:01 type veth "
		      "peer name v1 address 02:00:00:00:00:02' "
		      "'addr add 10.77.0.1/24 dev v0' 'link set v0 up' 'link set v1 up' "
		      "'neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent' "
		      "| ip -batch -");
}

/* In the child: everything that ends with it. */
static int enter(enum place_role role, const char *root, bool (*prepare)(void))
{
	const bool drop = role != PLACE_ROOT;
	struct error err = { 0 };
	char pid[16], path[320];
	const unsigned int uid = drop ? NOBODY : 0;
	struct stat st;
	ssize_t n;

	/* Before the namespaces: the file stays in the old one, where its path may have another
	 * root. */
	n = readlink("/proc/self/exe", place.program, sizeof(place.program) - 1);
	if (n < 0 || stat(place.program, &st) < 0)
		return cannot("find the running test");
	place.program_dev = st.st_dev;
	place.program_inode = st.st_ino;
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return cannot("make namespaces");
	if (mount("tracefs", root, "tracefs", 0, NULL) < 0)
		return cannot("mount tracefs");
	(void)snprintf(path, sizeof(path), "%s/events/sched/sched_process_fork/id", root);
	place.fork_id = read_number(path);
	if (umount(root) < 0 || place.fork_id == 0)
		return cannot("read the id of a tracepoint");
	/* Before Linux 6.7 a bpffs takes no uid in its options. */
	if (mount("bpf", root, "bpf", 0, "mode=0700") < 0 || chown(root, uid, uid) < 0)
		return cannot("mount a bpffs");
	(void)snprintf(place.bpffs, sizeof(place.bpffs), "%s", root);
	/* Before the cgroup is entered, which must be empty to be removed. */
	if (!start_helper())
		return cannot("start a helper");
	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", place.cgroup);
	(void)snprintf(pid, sizeof(pid), "%d", getpid());
	if (!write_text(path, pid))
		return cannot("enter a cgroup");
	/* After the cgroup was entered: a socket belongs to the cgroup it was made in. */
	send_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (send_fd < 0)
		return cannot("make a socket");
	make_network();
	if (prepare != NULL && !prepare())
		return cannot("prepare");
	if (drop && !drop_privileges())
		return cannot("drop privileges");
	if (role == PLACE_CORE && sandbox_enter_core(&err) < 0) {
		(void)printf("cannot enter the sandbox: %s\n", err.message);
		return 1;
	}
	return 0;
}

enum place_role place_role(int argc, char **argv)
{
	if (argc < 2)
		return PLACE_ROOT;
	return strcmp(argv[1], "core") == 0 ? PLACE_CORE : PLACE_CAPS;
}

/* A process that was killed leaves its group a little later. */
static int remove_cgroup(void)
{
	int r = rmdir(place.cgroup);

	for (int i = 0; r < 0 && errno == EBUSY && i < 400; i++) {
		(void)usleep(5000);
		r = rmdir(place.cgroup);
	}
	return r;
}

int place_run(enum place_role role, int (*run)(void))
{
	return place_run_prepared(role, NULL, run);
}

int place_run_prepared(enum place_role role, bool (*prepare)(void), int (*run)(void))
{
	const bool drop = role != PLACE_ROOT;
	char root[] = "/tmp/bpfleet-test-XXXXXX";
	char hierarchy[192];
	int status = 0, r;
	pid_t child;

	if (geteuid() != 0) {
		errno = EPERM;
		return cannot("run without root");
	}
	if (!find_cgroup2(hierarchy, sizeof(hierarchy)))
		return cannot("find a cgroup2 hierarchy");
	if (mkdtemp(root) == NULL)
		return cannot("make a directory");
	(void)snprintf(place.cgroup_below, sizeof(place.cgroup_below), "/bpfleet-test-%d",
		       getpid());
	(void)snprintf(place.cgroup, sizeof(place.cgroup), "%s%s", hierarchy, place.cgroup_below);
	if (mkdir(place.cgroup, 0755) < 0 || (drop && chown(place.cgroup, NOBODY, NOBODY) < 0)) {
		(void)rmdir(root);
		return cannot("make a cgroup");
	}
	(void)fflush(NULL);
	child = fork();
	if (child == 0) {
		r = enter(role, root, prepare);
		exit(r != 0 ? r : run());
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		status = 1;
	if (remove_cgroup() < 0 || rmdir(root) < 0) {
		(void)printf("something was left behind: %s\n", error_errno_name(errno));
		return 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
