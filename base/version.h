/* The version of this build: of the daemons, the API they serve, the library and the CLI. */
#pragma once

#define BPFLEET_VERSION "0.1.0"
