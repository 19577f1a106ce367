/* The table of NodeService's methods, one row for each method of the .proto file. */
#pragma once

struct rpc_service;

extern const struct rpc_service node_service;
