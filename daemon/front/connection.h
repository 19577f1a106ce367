/* Local clients: accepted, named by core, then served over gRPC, a server object each. */
#pragma once

struct front;

/* For rpc_listener_new(); user is the struct front. Takes fd. */
void connection_accept(void *user, int fd);
