#include "daemon/core/step.h"

void core_step(const char *name)
{
	(void)name;
}
