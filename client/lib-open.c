#include "client/bpfleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/version.h"
#include "client/lib.h"

const char *bpfleet_version(void)
{
	return BPFLEET_VERSION;
}

int lib_result(int r, const struct error *err, struct bpfleet_error *error)
{
	const struct error_info *info = error_info(err->code);

	if (r >= 0 || error == NULL)
		return r;
	*error = (struct bpfleet_error){
		.code = (enum bpfleet_status_code)info->status,
		.retryable = info->retryable,
	};
	(void)snprintf(error->reason, sizeof(error->reason), "%s", info->reason);
	(void)snprintf(error->message, sizeof(error->message), "%s", err->message);
	return r;
}

struct block {
	struct arena *arena;
	max_align_t items[];
};

void *lib_block(struct arena *arena, size_t n, size_t size)
{
	struct block *block = arena_alloc(arena, sizeof(*block) + n * size);

	if (block == NULL)
		return NULL;
	block->arena = arena;
	return block->items;
}

void bpfleet_free(const void *block)
{
	const struct block *header;

	if (block == NULL)
		return;
	header = (const void *)((const char *)block - offsetof(struct block, items));
	arena_free(header->arena);
}

int lib_options(void *all, size_t all_size, const void *options, struct error *err)
{
	const unsigned char *bytes = options;
	size_t size;

	if (options == NULL)
		return 0;
	memcpy(&size, options, sizeof(size));
	if (size < sizeof(size))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "the size of an options struct is not set; initialize it with "
				   "its _INIT macro");
	for (size_t i = all_size; i < size; i++) {
		if (bytes[i] != 0)
			return error_raise(err, ERROR_INVALID_ARGUMENT,
					   "an option is used that libbpfleet %s does not know",
					   BPFLEET_VERSION);
	}
	memcpy(all, options, size < all_size ? size : all_size);
	return 0;
}

DEFINE_CLEANUP(struct bpfleet, bpfleet_close)

int bpfleet_open(const struct bpfleet_open_options *options, struct bpfleet **ret_node,
		 struct bpfleet_error *error)
{
	struct bpfleet_open_options all = BPFLEET_OPEN_OPTIONS_INIT;
	struct error err = { 0 };
	_cleanup_(bpfleet_closep) struct bpfleet *node = NULL;
	int r;

	r = lib_options(&all, sizeof(all), options, &err);
	if (r < 0)
		return lib_result(r, &err, error);
	node = calloc(1, sizeof(*node));
	if (node == NULL)
		return lib_result(error_raise(&err, ERROR_OUT_OF_MEMORY, "out of memory"), &err,
				  error);
	r = node_open(all.socket_path, all.timeout_ms, &node->node, &err);
	if (r == 0)
		r = node_check(node->node, &err);
	if (r < 0)
		return lib_result(r, &err, error);
	*ret_node = TAKE_PTR(node);
	return 0;
}

void bpfleet_close(struct bpfleet *node)
{
	if (node == NULL)
		return;
	node_close(node->node);
	free(node);
}

void bpfleet_cancel(struct bpfleet *node)
{
	node_cancel(node->node);
}
