/*
 * An application without privilege: shows the entries of a map, then follows the events of an
 * instance, through the bpfleet daemon. Build it with
 *
 *     cc example.c $(pkg-config --cflags --libs bpfleet)
 *
 * and run it with INSTANCE/MAP and INSTANCE, and with how many events to wait for.
 */
#include <bpfleet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct wait {
	unsigned long left;
};

static int on_event(const struct bpfleet_event *event, void *user_data)
{
	struct wait *wait = user_data;

	if (event == NULL) {
		printf("following events\n");
		return wait->left == 0;
	}
	printf("%s #%" PRIu64 ": %s\n", event->map, event->sequence, event->json);
	return --wait->left == 0;
}

static int show_map(struct bpfleet *node, const char *map, struct bpfleet_error *error)
{
	struct bpfleet_entry entry;
	struct bpfleet_dump *dump;
	int r;

	r = bpfleet_dump_open(node, map, true, &dump, error);
	if (r < 0)
		return r;
	while ((r = bpfleet_dump_next(dump, &entry, error)) == 1)
		printf("%s\n", entry.json);
	bpfleet_dump_close(dump);
	return r;
}

int main(int argc, char **argv)
{
	struct bpfleet_error error;
	struct bpfleet *node;
	struct wait wait;
	int r;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: %s INSTANCE/MAP INSTANCE EVENTS\n", argv[0]);
		return 2;
	}
	wait.left = strtoul(argv[3], NULL, 10);
	r = bpfleet_open(NULL, &node, &error);
	if (r < 0) {
		(void)fprintf(stderr, "%s (%s)\n", error.message, error.reason);
		return 1;
	}
	r = show_map(node, argv[1], &error);
	if (r == 0)
		r = bpfleet_events(node, argv[2], true, on_event, &wait, &error);
	if (r < 0)
		(void)fprintf(stderr, "%s (%s)\n", error.message, error.reason);
	bpfleet_close(node);
	return r < 0 ? 1 : 0;
}
