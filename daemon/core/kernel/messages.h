/* What libbpf prints during one load, kept for the thread that runs it. */
#pragma once

#include <stddef.h>

struct messages {
	char text[480];	   /* the warnings in order, joined by "; ", cut to fit */
	char program[128]; /* of the last warning that names one ("prog 'x': ..."), or empty */
};

/* Sets libbpf's print callback; once per process. */
void messages_install(void);

/* From here to messages_end(), this thread's warnings go to m, which is emptied first. */
void messages_begin(struct messages *m);
void messages_end(void);
