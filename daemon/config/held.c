#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/config/config.h"

bool config_is_held(const struct config *config)
{
	const char *folders[] = { config->state_dir, config->run_dir };

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		char path[1100];

		(void)snprintf(path, sizeof(path), "%s/held", folders[i]);
		/* Held when in doubt: the owner's off switch must not fail open. */
		if (access(path, F_OK) == 0 || errno != ENOENT)
			return true;
	}
	return false;
}
