/* For tests: SIGKILL at the point that BPFLEET_KILL_AT names, the n-th time ("NAME" or "NAME:N").
 */
#include "daemon/core/step.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

void core_step(const char *name)
{
	static unsigned long passed;
	const char *at = getenv("BPFLEET_KILL_AT");
	size_t n = strlen(name);

	if (at == NULL || strncmp(at, name, n) != 0 || (at[n] != '\0' && at[n] != ':'))
		return;
	if (++passed >= (at[n] == ':' ? strtoul(at + n + 1, NULL, 10) : 1))
		(void)raise(SIGKILL);
}
