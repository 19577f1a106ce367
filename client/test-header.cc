// bpfleet.h alone, from C++: compiled, linked with the shared library and run.
#include "bpfleet.h"

#include <cstring>

int main()
{
	struct bpfleet_open_options open = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet_load_options load = BPFLEET_LOAD_OPTIONS_INIT;
	struct bpfleet_push_options push = BPFLEET_PUSH_OPTIONS_INIT;
	struct bpfleet_audit_query audit = BPFLEET_AUDIT_QUERY_INIT;
	struct bpfleet_error error;
	struct bpfleet *node = nullptr;

	if (open.size != sizeof(open) || load.size != sizeof(load) || push.size != sizeof(push) ||
	    audit.size != sizeof(audit) || std::strlen(bpfleet_version()) < 5)
		return 1;
	open.socket_path = "/tmp/no/such/socket";
	if (bpfleet_open(&open, &node, &error) == 0 || error.code != BPFLEET_UNAVAILABLE)
		return 2;
	bpfleet_close(node);
	return 0;
}
