/* How the errno of a read command becomes an error, for the sources of this folder. */
#pragma once

struct error;
struct mapread_map;

/* The kernel's internal ENOTSUPP, which bpf(2) lets out; include/linux/errno.h of the kernel. */
#define MAPREAD_ENOTSUPP 524

int mapread_raise_unsupported(const struct mapread_map *map, struct error *err);
/* "cannot STEP: ERRNO". */
int mapread_raise(const struct mapread_map *map, int sys_errno, const char *step,
		  struct error *err);
