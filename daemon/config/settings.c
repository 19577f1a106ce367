#include "daemon/config/settings.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "daemon/config/settings-image.h"

int settings_open(int fd, struct settings **ret, struct error *err)
{
	struct settings_image *image;
	struct stat st;
	char *base;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(*image))
		return error_raise(err, ERROR_PROTOCOL, "no settings came from bpfleetd");
	base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (base == MAP_FAILED)
		return error_raise_errno(err, ERROR_IO, errno, "map the settings");
	image = (struct settings_image *)(void *)base;
	if (strncmp(image->version, BPFLEET_VERSION, sizeof(image->version)) != 0 ||
	    image->struct_bytes != SETTINGS_STRUCT_BYTES || image->size != (uint64_t)st.st_size) {
		(void)munmap(base, (size_t)st.st_size);
		return error_raise(err, ERROR_PROTOCOL,
				   "bpfleetd runs another version than %s: restart it",
				   BPFLEET_VERSION);
	}
	for (uint64_t i = 0; i < image->n_pointers; i++) {
		const uint64_t at = ((uint64_t *)(void *)(base + image->pointers))[i];
		char **pointer = (char **)(void *)(base + at);

		*pointer = base + (uintptr_t)*pointer;
	}
	*ret = &image->settings;
	return 0;
}

void settings_close(struct settings *settings)
{
	struct settings_image *image;

	if (settings == NULL)
		return;
	image = (struct settings_image *)(void *)((char *)settings -
						  offsetof(struct settings_image, settings));
	(void)munmap(image, image->size);
}
