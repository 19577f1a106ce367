#define _GNU_SOURCE
#include "daemon/core/kernel/pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/str.h"

/* In the store's directory itself: s_NUMBER, for the moment that kernel_reopen_map() takes. */
#define SCRATCH_PREFIX "s_"

struct kernel_pins {
	int fd;
	atomic_uint next_scratch;
	char uuid[KERNEL_PIN_ID_MAX + 1];
};

/* bpffs refuses dots; slashes would leave the directory. */
static bool is_id(const char *text)
{
	const size_t n = strlen(text);

	return n > 0 && n <= KERNEL_PIN_ID_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
		       n;
}

static int check_id(const char *what, const char *text, struct error *err)
{
	if (is_id(text))
		return 0;
	return error_raise(err, ERROR_INVALID_NAME, "%s '%.80s' cannot be the name of a pin", what,
			   text);
}

static int raise(int sys_errno, const char *step, const char *name, struct error *err)
{
	enum error_code code = ERROR_KERNEL_REFUSED;

	if (sys_errno == ENOENT)
		code = ERROR_NOT_FOUND;
	else if (sys_errno == EEXIST)
		code = ERROR_ALREADY_EXISTS;
	return error_raise_errno(err, code, sys_errno, "cannot %s pin %s", step, name);
}

static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int check_store_dir(int fd, const char *path, struct error *err)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot examine %s",
					 path);
	if ((unsigned long)fs.f_type != BPF_FS_MAGIC)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "%s is not on a bpffs; mount one there: mount -t bpf bpf DIR",
				   path);
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "%s must belong to uid %u, with mode 0700", path, geteuid());
	return 0;
}

static DIR *open_listing(int at, const char *name)
{
	const int fd = open_dir(at, name);
	DIR *dir;

	if (fd < 0)
		return NULL;
	dir = fdopendir(fd);
	if (dir == NULL)
		(void)close(fd);
	return dir;
}

static void close_dirp(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

#define _cleanup_dir_ _cleanup_(close_dirp)

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool is_scratch(const char *name)
{
	return strncmp(name, SCRATCH_PREFIX, sizeof(SCRATCH_PREFIX) - 1) == 0;
}

/* What a crash in kernel_reopen_map() left; the lock says that nobody uses it. */
static int remove_scratch(const struct kernel_pins *pins, struct error *err)
{
	_cleanup_dir_ DIR *dir = open_listing(pins->fd, ".");
	const struct dirent *entry;

	if (dir == NULL)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot list pins");
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR && is_scratch(entry->d_name) &&
		    unlinkat(pins->fd, entry->d_name, 0) < 0 && errno != ENOENT)
			return raise(errno, "remove", entry->d_name, err);
	}
	return 0;
}

int kernel_pins_open(const char *bpffs_dir, const char *store_uuid, struct kernel_pins **ret,
		     struct error *err)
{
	_cleanup_(kernel_pins_closep) struct kernel_pins *pins = NULL;
	_cleanup_close_ int parent = -1;
	int r;

	r = check_id("store", store_uuid, err);
	if (r < 0)
		return r;
	pins = calloc(1, sizeof(*pins));
	if (pins == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot open the pins");
	pins->fd = -1;
	memcpy(pins->uuid, store_uuid, strlen(store_uuid));
	parent = open(bpffs_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return error_raise_errno(err, ERROR_CONFIG_INVALID, errno, "cannot open %s",
					 bpffs_dir);
	if (mkdirat(parent, store_uuid, 0700) < 0 && errno != EEXIST)
		return error_raise_errno(err, ERROR_CONFIG_INVALID, errno,
					 "cannot make a directory in %s", bpffs_dir);
	pins->fd = open_dir(parent, store_uuid);
	if (pins->fd < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot open %s/%s",
					 bpffs_dir, store_uuid);
	r = check_store_dir(pins->fd, bpffs_dir, err);
	if (r < 0)
		return r;
	if (flock(pins->fd, LOCK_EX | LOCK_NB) < 0)
		return error_raise_errno(
			err, errno == EWOULDBLOCK ? ERROR_UNAVAILABLE : ERROR_KERNEL_REFUSED, errno,
			"another process holds the pins in %s/%s", bpffs_dir, store_uuid);
	r = remove_scratch(pins, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(pins);
	return 0;
}

void kernel_pins_close(struct kernel_pins *pins)
{
	if (pins == NULL)
		return;
	if (pins->fd >= 0)
		(void)close(pins->fd);
	free(pins);
}

struct file_name {
	char text[KERNEL_PIN_ID_MAX + 3];
};

static int pin_file_name(const struct kernel_pin *pin, struct file_name *ret, struct error *err)
{
	int r;

	r = check_id("instance", pin->instance, err);
	if (r < 0)
		return r;
	switch (pin->kind) {
	case KERNEL_PIN_PROGRAM:
	case KERNEL_PIN_MAP:
		(void)snprintf(
			ret->text, sizeof(ret->text), pin->generation == 0 ? "%c_%u" : "%c_%u_%u",
			pin->kind == KERNEL_PIN_PROGRAM ? 'p' : 'm', pin->ordinal, pin->generation);
		return 0;
	case KERNEL_PIN_INNER:
		(void)snprintf(ret->text, sizeof(ret->text), "i_%u", pin->ordinal);
		return 0;
	case KERNEL_PIN_LINK:
		r = check_id("link", pin->link, err);
		if (r < 0)
			return r;
		(void)snprintf(ret->text, sizeof(ret->text), "l_%s", pin->link);
		return 0;
	case KERNEL_PIN_FOREIGN:
		break;
	}
	return error_raise(err, ERROR_INVALID_NAME, "a foreign pin has no name of ours");
}

/* BPF_OBJ_PIN takes an fd of a directory only since 6.5; a path through our own fd always works. */
struct pin_path {
	char text[160];
};

static void path_through(const struct kernel_pins *pins, const char *instance, const char *file,
			 struct pin_path *ret)
{
	(void)snprintf(ret->text, sizeof(ret->text), "/proc/self/fd/%d/%s%s%s", pins->fd, instance,
		       instance[0] != '\0' ? "/" : "", file);
}

int kernel_pin(struct kernel_pins *pins, const struct kernel_pin *pin, int fd, struct error *err)
{
	struct file_name file;
	struct pin_path path;
	int r;

	r = pin_file_name(pin, &file, err);
	if (r < 0)
		return r;
	path_through(pins, pin->instance, file.text, &path);
	if (bpf_obj_pin(fd, path.text) < 0)
		return raise(errno, "make", file.text, err);
	return 0;
}

int kernel_unpin(struct kernel_pins *pins, const struct kernel_pin *pin, struct error *err)
{
	_cleanup_close_ int dir = -1;
	struct file_name file;
	int r;

	r = pin_file_name(pin, &file, err);
	if (r < 0)
		return r;
	dir = open_dir(pins->fd, pin->instance);
	if (dir < 0)
		return errno == ENOENT ? 0 : raise(errno, "reach", file.text, err);
	if (unlinkat(dir, file.text, 0) < 0 && errno != ENOENT)
		return raise(errno, "remove", file.text, err);
	return 0;
}

static void scratch_path(struct kernel_pins *pins, struct file_name *file, struct pin_path *path)
{
	(void)snprintf(file->text, sizeof(file->text), SCRATCH_PREFIX "%u",
		       atomic_fetch_add(&pins->next_scratch, 1));
	path_through(pins, "", file->text, path);
}

int kernel_pin_swap(struct kernel_pins *pins, const struct kernel_pin *pin, int fd,
		    struct error *err)
{
	struct file_name file, scratch;
	struct pin_path path;
	char to[sizeof(file.text) + KERNEL_PIN_ID_MAX + 2];
	int r;

	r = pin_file_name(pin, &file, err);
	if (r < 0)
		return r;
	scratch_path(pins, &scratch, &path);
	if (bpf_obj_pin(fd, path.text) < 0)
		return raise(errno, "make", scratch.text, err);
	(void)snprintf(to, sizeof(to), "%s/%s", pin->instance, file.text);
	if (renameat(pins->fd, scratch.text, pins->fd, to) == 0)
		return 0;
	r = raise(errno, "replace", file.text, err);
	(void)unlinkat(pins->fd, scratch.text, 0);
	return r;
}

static int get(const char *path, uint32_t flags, int *ret_fd, const char *name, struct error *err)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = flags);
	const int fd = bpf_obj_get_opts(path, &opts);

	if (fd < 0)
		return raise(errno, "open", name, err);
	*ret_fd = fd;
	return 0;
}

int kernel_pin_open(struct kernel_pins *pins, const struct kernel_pin *pin, bool readonly,
		    int *ret_fd, struct error *err)
{
	struct file_name file;
	struct pin_path path;
	int r;

	r = pin_file_name(pin, &file, err);
	if (r < 0)
		return r;
	path_through(pins, pin->instance, file.text, &path);
	return get(path.text, readonly ? BPF_F_RDONLY : 0, ret_fd, file.text, err);
}

int kernel_pins_add_instance(struct kernel_pins *pins, const char *instance, struct error *err)
{
	int r;

	r = check_id("instance", instance, err);
	if (r < 0)
		return r;
	if (mkdirat(pins->fd, instance, 0700) < 0 && errno != EEXIST)
		return raise(errno, "make directory of", instance, err);
	return 0;
}

/* Reads a file name of ours; anything else is KERNEL_PIN_FOREIGN. */
static void parse_name(const char *name, struct kernel_pin_entry *entry)
{
	char again[64];
	unsigned int ordinal, generation = 0;

	entry->kind = KERNEL_PIN_FOREIGN;
	(void)snprintf(entry->name, sizeof(entry->name), "%s", name);
	if (strlen(name) < 3 || name[1] != '_')
		return;
	if (name[0] == 'l' && is_id(name + 2)) {
		entry->kind = KERNEL_PIN_LINK;
		memcpy(entry->link, name + 2, strlen(name + 2) + 1);
		return;
	}
	if ((name[0] != 'p' && name[0] != 'm' && name[0] != 'i') ||
	    sscanf(name + 2, "%9u_%9u", &ordinal, &generation) < 1)
		return;
	/* Only what we would write: no sign, no leading zero, nothing behind. */
	(void)snprintf(again, sizeof(again), generation == 0 ? "%c_%u" : "%c_%u_%u", name[0],
		       ordinal, generation);
	if (strcmp(again, name) != 0)
		return;
	entry->ordinal = ordinal;
	entry->generation = generation;
	if (name[0] == 'p')
		entry->kind = KERNEL_PIN_PROGRAM;
	else
		entry->kind = name[0] == 'm' ? KERNEL_PIN_MAP : KERNEL_PIN_INNER;
}

static struct kernel_pin_entry *add_entry(struct kernel_pin_list *list, size_t *capacity)
{
	struct kernel_pin_entry *entries;

	if (list->n_entries == *capacity) {
		*capacity = *capacity > 0 ? *capacity * 2 : 32;
		entries = reallocarray(list->entries, *capacity, sizeof(*entries));
		if (entries == NULL)
			return NULL;
		list->entries = entries;
	}
	memset(&list->entries[list->n_entries], 0, sizeof(*entries));
	return &list->entries[list->n_entries++];
}

static int list_instance(const struct kernel_pins *pins, const char *instance,
			 struct kernel_pin_list *list, size_t *capacity, struct error *err)
{
	_cleanup_dir_ DIR *dir = open_listing(pins->fd, instance);
	const size_t n_before = list->n_entries;
	struct kernel_pin_entry *entry;
	const struct dirent *file;

	if (dir == NULL) {
		/* Unloaded meanwhile. */
		if (errno == ENOENT)
			return 0;
		return raise(errno, "list", instance, err);
	}
	while ((file = readdir(dir)) != NULL) {
		if (is_dots(file->d_name))
			continue;
		entry = add_entry(list, capacity);
		if (entry == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot list pins");
		(void)snprintf(entry->instance, sizeof(entry->instance), "%s", instance);
		parse_name(file->d_name, entry);
	}
	if (list->n_entries > n_before)
		return 0;
	entry = add_entry(list, capacity);
	if (entry == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot list pins");
	(void)snprintf(entry->instance, sizeof(entry->instance), "%s", instance);
	entry->kind = KERNEL_PIN_FOREIGN;
	return 0;
}

int kernel_pins_list(struct kernel_pins *pins, struct kernel_pin_list *ret, struct error *err)
{
	_cleanup_(kernel_pin_list_done) struct kernel_pin_list list = { 0 };
	_cleanup_dir_ DIR *dir = open_listing(pins->fd, ".");
	struct kernel_pin_entry *entry;
	const struct dirent *file;
	size_t capacity = 0;
	int r;

	if (dir == NULL)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot list pins");
	while ((file = readdir(dir)) != NULL) {
		if (is_dots(file->d_name) || (file->d_type != DT_DIR && is_scratch(file->d_name)))
			continue;
		if (file->d_type == DT_DIR && is_id(file->d_name)) {
			r = list_instance(pins, file->d_name, &list, &capacity, err);
			if (r < 0)
				return r;
			continue;
		}
		entry = add_entry(&list, &capacity);
		if (entry == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot list pins");
		(void)snprintf(entry->name, sizeof(entry->name), "%s", file->d_name);
		entry->kind = KERNEL_PIN_FOREIGN;
	}
	*ret = list;
	list = (struct kernel_pin_list){ 0 };
	return 0;
}

void kernel_pin_list_done(struct kernel_pin_list *list)
{
	free(list->entries);
	*list = (struct kernel_pin_list){ 0 };
}

/* Links before programs before maps, so that nothing runs with half of its pins gone. */
static int unlink_kind(int dir, const struct kernel_pin_list *list, enum kernel_pin_kind kind,
		       struct error *err)
{
	for (size_t i = 0; i < list->n_entries; i++) {
		const struct kernel_pin_entry *entry = &list->entries[i];

		if (entry->kind == kind && unlinkat(dir, entry->name, 0) < 0 && errno != ENOENT)
			return raise(errno, "remove", entry->name, err);
	}
	return 0;
}

int kernel_pins_remove_instance(struct kernel_pins *pins, const char *instance, struct error *err)
{
	_cleanup_(kernel_pin_list_done) struct kernel_pin_list list = { 0 };
	_cleanup_close_ int dir = -1;
	size_t capacity = 0;
	int r;

	r = check_id("instance", instance, err);
	if (r < 0)
		return r;
	dir = open_dir(pins->fd, instance);
	if (dir < 0)
		return errno == ENOENT ? 0 : raise(errno, "open directory of", instance, err);
	r = list_instance(pins, instance, &list, &capacity, err);
	if (r == 0)
		r = unlink_kind(dir, &list, KERNEL_PIN_LINK, err);
	if (r == 0)
		r = unlink_kind(dir, &list, KERNEL_PIN_PROGRAM, err);
	if (r == 0)
		r = unlink_kind(dir, &list, KERNEL_PIN_MAP, err);
	if (r == 0)
		r = unlink_kind(dir, &list, KERNEL_PIN_INNER, err);
	if (r < 0)
		return r;
	if (unlinkat(pins->fd, instance, AT_REMOVEDIR) < 0 && errno != ENOENT) {
		if (errno == ENOTEMPTY)
			return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
						 "the pins of %s hold something that is not ours",
						 instance);
		return raise(errno, "remove directory of", instance, err);
	}
	return 0;
}

static bool is_kept(const struct kernel_pin_entry *entry, const uint32_t *generations, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (entry->generation == generations[i])
			return true;
	}
	return false;
}

int kernel_pins_keep_generations(struct kernel_pins *pins, const char *instance,
				 const uint32_t *generations, size_t n, struct error *err)
{
	_cleanup_(kernel_pin_list_done) struct kernel_pin_list list = { 0 };
	_cleanup_close_ int dir = open_dir(pins->fd, instance);
	size_t capacity = 0;
	int r;

	if (dir < 0)
		return errno == ENOENT ? 0 : raise(errno, "open directory of", instance, err);
	r = list_instance(pins, instance, &list, &capacity, err);
	for (size_t i = 0; r == 0 && i < list.n_entries; i++) {
		if (is_kept(&list.entries[i], generations, n))
			list.entries[i].kind = KERNEL_PIN_FOREIGN;
	}
	if (r == 0)
		r = unlink_kind(dir, &list, KERNEL_PIN_PROGRAM, err);
	if (r == 0)
		r = unlink_kind(dir, &list, KERNEL_PIN_MAP, err);
	return r;
}

void kernel_pin_path(const struct kernel_pins *pins, const char *instance, const char *name,
		     char *out, size_t size)
{
	(void)snprintf(out, size, "%s/%s%s%s", pins->uuid, instance, name[0] != '\0' ? "/" : "",
		       name);
}

int kernel_reopen_map(struct kernel_pins *pins, int map_fd, uint32_t flags, int *ret_fd,
		      struct error *err)
{
	struct file_name file;
	struct pin_path path;
	int r;

	scratch_path(pins, &file, &path);
	if (bpf_obj_pin(map_fd, path.text) < 0)
		return raise(errno, "make", file.text, err);
	r = get(path.text, flags, ret_fd, file.text, err);
	(void)unlinkat(pins->fd, file.text, 0);
	return r;
}
