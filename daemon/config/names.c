#include "daemon/config/names.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

int names_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	_cleanup_fclose_ FILE *file = fopen("/etc/passwd", "re");
	const struct passwd *entry;

	if (file == NULL)
		return -errno;
	while ((entry = fgetpwent(file)) != NULL) {
		if (strcmp(entry->pw_name, name) != 0)
			continue;
		*ret_uid = entry->pw_uid;
		*ret_gid = entry->pw_gid;
		return 0;
	}
	return -ENOENT;
}

int names_group(const char *name, gid_t *ret_gid)
{
	_cleanup_fclose_ FILE *file = fopen("/etc/group", "re");
	const struct group *entry;

	if (file == NULL)
		return -errno;
	while ((entry = fgetgrent(file)) != NULL) {
		if (strcmp(entry->gr_name, name) != 0)
			continue;
		*ret_gid = entry->gr_gid;
		return 0;
	}
	return -ENOENT;
}
