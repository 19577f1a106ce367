#include "daemon/config/config.h"
#include "daemon/config/policy.h"
#include "daemon/config/trust_file.h"

int config_check(const struct config *config, struct error *err)
{
	_cleanup_(policy_freep) struct policy *policy = NULL;
	_cleanup_(trust_file_freep) struct trust_file *trust = NULL;
	int r;

	r = policy_load(config->policy, &policy, err);
	if (r < 0)
		return r;
	return trust_file_load(config->trust, &trust, err);
}
