#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/str.h"
#include "daemon/config/settings-image.h"

/* A memfd being made: what has been put, and where in it pointers are. Failures stick. */
struct builder {
	struct str bytes;
	struct str pointers; /* uint64_t each */
};

/* Copies n bytes; returns their offset. */
static size_t put(struct builder *b, const void *bytes, size_t n)
{
	static const char zeroes[8];
	size_t at;

	(void)str_append_bytes(&b->bytes, zeroes, -b->bytes.len % sizeof(zeroes));
	at = b->bytes.len;
	(void)str_append_bytes(&b->bytes, bytes, n);
	return at;
}

/* The pointer at `at` is to lead to `to`. */
static void point(struct builder *b, size_t at, size_t to)
{
	const uint64_t offset = at;

	if (b->bytes.failed)
		return;
	memcpy(b->bytes.data + at, &(uintptr_t){ to }, sizeof(uintptr_t));
	(void)str_append_bytes(&b->pointers, &offset, sizeof(offset));
}

static void put_text(struct builder *b, size_t at, const char *text)
{
	if (text != NULL)
		point(b, at, put(b, text, strlen(text) + 1));
}

static void put_texts(struct builder *b, size_t at, char *const *texts, size_t n)
{
	const size_t array = put(b, texts, n * sizeof(*texts));

	point(b, at, array);
	for (size_t i = 0; i < n; i++)
		put_text(b, array + i * sizeof(*texts), texts[i]);
}

#define FIELD(at, type, member) ((at) + offsetof(struct type, member))

static void put_config(struct builder *b, size_t pointer, const struct config *config)
{
	static const size_t texts[] = {
		offsetof(struct config, state_dir), offsetof(struct config, run_dir),
		offsetof(struct config, bpffs_dir), offsetof(struct config, socket),
		offsetof(struct config, fd_socket), offsetof(struct config, libexec_dir),
		offsetof(struct config, policy),    offsetof(struct config, trust),
	};
	const size_t at = put(b, config, sizeof(*config));
	const size_t labels = put(b, config->labels, config->n_labels * sizeof(*config->labels));

	point(b, pointer, at);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		put_text(b, at + texts[i], *(char *const *)((const char *)config + texts[i]));
	point(b, FIELD(at, config, labels), labels);
	for (size_t i = 0; i < config->n_labels; i++) {
		const struct config_label *label = &config->labels[i];
		const size_t row = labels + i * sizeof(*label);

		put_text(b, FIELD(row, config_label, name), label->name);
		put_texts(b, FIELD(row, config_label, values), label->values, label->n_values);
	}
}

static void put_policy(struct builder *b, size_t pointer, const struct policy *policy)
{
	const size_t at = put(b, policy, sizeof(*policy));
	const size_t rows = put(b, policy->rows, policy->n_rows * sizeof(*policy->rows));

	point(b, pointer, at);
	point(b, FIELD(at, policy, rows), rows);
	for (size_t i = 0; i < policy->n_rows; i++)
		put_texts(b, FIELD(rows + i * sizeof(*policy->rows), policy_row, bundles),
			  policy->rows[i].bundles, policy->rows[i].n_bundles);
}

static void put_trust(struct builder *b, size_t pointer, const struct trust_file *trust)
{
	const size_t at = put(b, trust, sizeof(*trust));
	const size_t keys = put(b, trust->keys, trust->n_keys * sizeof(*trust->keys));

	point(b, pointer, at);
	point(b, FIELD(at, trust_file, keys), keys);
	for (size_t i = 0; i < trust->n_keys; i++) {
		const struct trust_file_key *key = &trust->keys[i];
		const size_t row = keys + i * sizeof(*key);

		put_text(b, FIELD(row, trust_file_key, name), key->name);
		put_text(b, FIELD(row, trust_file_key, key), key->key);
		put_texts(b, FIELD(row, trust_file_key, scope), key->scope, key->n_scope);
	}
	put_texts(b, FIELD(at, trust_file, revoked), trust->revoked, trust->n_revoked);
}

static int write_memfd(const struct str *bytes)
{
	_cleanup_close_ int fd = memfd_create("bpfleet-settings", MFD_CLOEXEC);

	for (size_t done = 0; fd >= 0 && done < bytes->len;) {
		const ssize_t n = write(fd, bytes->data + done, bytes->len - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return fd < 0 ? -errno : TAKE_FD(fd);
}

int settings_pack(const struct config *config)
{
	_cleanup_(policy_freep) struct policy *policy = NULL;
	_cleanup_(trust_file_freep) struct trust_file *trust = NULL;
	struct settings_image image = { .struct_bytes = SETTINGS_STRUCT_BYTES };
	struct builder b = { 0 };
	const size_t root = offsetof(struct settings_image, settings);
	int r = policy_load(config->policy, &policy, &image.settings.err);

	if (r >= 0)
		r = trust_file_load(config->trust, &trust, &image.settings.err);
	(void)snprintf(image.version, sizeof(image.version), "%s", BPFLEET_VERSION);
	(void)put(&b, &image, sizeof(image));
	put_config(&b, FIELD(root, settings, config), config);
	if (r >= 0)
		put_policy(&b, FIELD(root, settings, policy), policy);
	if (r >= 0)
		put_trust(&b, FIELD(root, settings, trust), trust);
	image.n_pointers = b.pointers.len / sizeof(uint64_t);
	image.pointers = put(&b, b.pointers.data, b.pointers.len);
	image.size = b.bytes.len;
	r = -ENOMEM;
	if (!b.bytes.failed && !b.pointers.failed) {
		/* The pointers of the settings are as put() and point() left them. */
		memcpy(b.bytes.data, &image, root);
		r = write_memfd(&b.bytes);
	}
	str_done(&b.bytes);
	str_done(&b.pointers);
	return r;
}
