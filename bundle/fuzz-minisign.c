/* The text of a signature, of a public key and of a secret key that is not encrypted. */
#include <string.h>

#include "base/error.h"
#include "bundle/minisign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *secret = NULL;
	struct minisign_signature signature;
	struct minisign_public_key key;
	struct digest digest = { 0 };
	struct error err = { 0 };

	if (minisign_public_key_parse((const char *)data, size, &key, &err) == 0) {
		_cleanup_free_ char *text = NULL;
		struct minisign_public_key again;

		if (minisign_public_key_format(&key, NULL, &text, NULL) < 0 ||
		    minisign_public_key_parse(text, strlen(text), &again, NULL) < 0 ||
		    memcmp(&key, &again, sizeof(key)) != 0)
			__builtin_trap();
	}
	if (minisign_signature_parse(data, size, &signature, &err) == 0) {
		memset(&key, 1, sizeof(key));
		if (strlen(signature.trusted_comment) > MINISIGN_TRUSTED_COMMENT_MAX ||
		    minisign_verify(&signature, &key, &digest, &err) == 0)
			__builtin_trap();
	}
	(void)!minisign_secret_key_parse((const char *)data, size, NULL, &secret, &err);
	return 0;
}
