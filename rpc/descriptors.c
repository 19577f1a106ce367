#include "rpc/reflection.h"

/* The file protoc wrote (RPC_DESCRIPTOR_SET, set by CMake), as read-only data.
 */
__asm__(".pushsection .rodata, \"a\"\n"
	".balign 16\n"
	".global rpc_descriptor_set\n"
	".hidden rpc_descriptor_set\n"
	"rpc_descriptor_set:\n"
	".incbin \"" RPC_DESCRIPTOR_SET "\"\n"
	"rpc_descriptor_set_end:\n"
	".balign 8\n"
	".global rpc_descriptor_set_size\n"
	".hidden rpc_descriptor_set_size\n"
	"rpc_descriptor_set_size:\n"
	".quad rpc_descriptor_set_end - rpc_descriptor_set\n"
	".popsection\n");
