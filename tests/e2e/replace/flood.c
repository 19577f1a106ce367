/*
 * Sends datagrams through a veth pair without a pause while an instance is replaced again and again
 * by a version with another slot, then holds what was sent against what the slots hold.
 *
 *     flood SOCKET INSTANCE PROGRAM HOOK replace|overlap|reattach|reattach-overlap N MIN_PACKETS
 *           DEVICE
 *
 * Prints "sent S counted A + B = C in T ms"; exits with 0 if S == C. overlap: of bundle links,
 * where both versions may see a packet: each has a number, and what counts is how many numbers were
 * seen at all; prints those that were seen again, too. The instance must be fresh. reattach is the
 * control: detach and attach in place of Replace.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/hook.h"
#include "client/node.h"
#include "proto/arena.h"
#include "tests/e2e/replace/flood.h"

#define BATCH 32
#define LIMIT_S                                                                           \
	2400 /* emulated, and on a busy machine, 1,000 Replaces take a quarter of an hour \
	      */

struct sender {
	atomic_bool stop;
	atomic_ullong sent;
};

static void *flood(void *arg)
{
	struct sender *sender = arg;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(FLOOD_PORT) };
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec pieces[BATCH];
	uint32_t numbers[BATCH];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, "10.9.0.1", &to.sin_addr) != 1)
		err(2, "socket");
	for (int i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_name = &to;
		messages[i].msg_hdr.msg_namelen = sizeof(to);
		pieces[i] = (struct iovec){ &numbers[i], sizeof(numbers[i]) };
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (!atomic_load(&sender->stop)) {
		const unsigned long long sent = atomic_load(&sender->sent);
		int n;

		for (unsigned int i = 0; i < BATCH; i++)
			numbers[i] = (uint32_t)sent + i;
		n = sendmmsg(fd, messages, BATCH, 0);
		if (n > 0)
			atomic_fetch_add(&sender->sent, (unsigned long long)n);
	}
	(void)close(fd);
	return NULL;
}

/* Packets that the stack itself dropped between sendmmsg(2) and the hook. */
static unsigned long long dropped(const char *device)
{
	unsigned long long total = 0, tx[4];
	unsigned int columns[2];
	char line[512], *colon;
	FILE *file = fopen("/proc/net/dev", "re");

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		colon = strchr(line, ':');
		if (colon == NULL || colon - line < (ptrdiff_t)strlen(device) ||
		    strncmp(colon - strlen(device), device, strlen(device)) != 0)
			continue;
		/* Eight columns of what was received, then bytes, packets, errors, drops sent. */
		if (sscanf(colon + 1, "%*u %*u %*u %*u %*u %*u %*u %*u %llu %llu %llu %llu", &tx[0],
			   &tx[1], &tx[2], &tx[3]) == 4)
			total += tx[2] + tx[3];
	}
	if (file != NULL)
		(void)fclose(file);
	file = fopen("/proc/net/softnet_stat", "re");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "%x %x", &columns[0], &columns[1]) == 2)
			total += columns[1];
	}
	if (file != NULL)
		(void)fclose(file);
	return total;
}

static const ProtobufCMessage *call(struct node *node, const char *method,
				    const ProtobufCMessage *request, struct arena *arena)
{
	struct error error = { 0 };
	ProtobufCMessage *response;

	if (node_call(node, method, request, arena, &response, &error) < 0)
		errx(1, "%s: %s", method, error.message);
	return response;
}

static void replace(struct node *node, const char *instance, const char *bundle, unsigned int slot)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
	Bpfleet__V1__ReplaceRequest request = BPFLEET__V1__REPLACE_REQUEST__INIT;
	Bpfleet__V1__CommitRequest commit = BPFLEET__V1__COMMIT_REQUEST__INIT;
	Bpfleet__V1__Parameter parameter = BPFLEET__V1__PARAMETER__INIT, *parameters = &parameter;
	char value[16];

	(void)snprintf(value, sizeof(value), "%u", slot);
	parameter.name = (char *)"slot";
	parameter.value = value;
	request.instance = commit.instance = (char *)(uintptr_t)instance;
	request.bundle = (char *)(uintptr_t)bundle;
	request.parameters = &parameters;
	request.n_parameters = 1;
	(void)call(node, "Replace", &request.base, arena);
	(void)call(node, "Commit", &commit.base, arena);
}

static void attach(struct node *node, const char *program, const char *hook, char *link)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	const Bpfleet__V1__AttachResponse *response;
	_cleanup_(hook_freep) struct hook *parsed = NULL;

	if (hook_parse(hook, &parsed, NULL) < 0 ||
	    hook_to_message(parsed, arena, &request.hook, NULL) < 0)
		errx(2, "%s is no hook", hook);
	request.program = (char *)(uintptr_t)program;
	response = (const void *)call(node, "Attach", &request.base, arena);
	(void)snprintf(link, 64, "%s", response->link->name);
}

static void detach(struct node *node, const char *link)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
	Bpfleet__V1__DetachRequest request = BPFLEET__V1__DETACH_REQUEST__INIT;

	request.link = (char *)(uintptr_t)link;
	(void)call(node, "Detach", &request.base, arena);
}

static unsigned long long slot_count(struct node *node, const char *instance, uint32_t slot)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	ProtobufCBinaryData key = { sizeof(slot), (uint8_t *)&slot };
	const Bpfleet__V1__LookupMapResponse *response;
	unsigned long long count;
	char map[128];

	(void)snprintf(map, sizeof(map), "%s/maps/counts", instance);
	request.map = map;
	request.keys = &key;
	request.n_keys = 1;
	response = (const void *)call(node, "LookupMap", &request.base, arena);
	if (response->n_entries != 1 || response->entries[0]->value.len != sizeof(count))
		errx(1, "LookupMap gave no count");
	memcpy(&count, response->entries[0]->value.data, sizeof(count));
	return count;
}

int main(int argc, char **argv)
{
	unsigned long long sent, lost, total, counts[2] = { 0 }, before[2], first = 0, again = 0;
	unsigned int n, minimum;
	struct sender sender = { 0 };
	struct error error = { 0 };
	char program[192], link[64] = "";
	struct node *node;
	pthread_t thread;
	bool replaces, overlaps;
	uint64_t begun;

	if (argc != 9)
		errx(2, "usage: flood SOCKET INSTANCE PROGRAM HOOK "
			"replace|overlap|reattach|reattach-overlap N MIN_PACKETS DEVICE");
	overlaps = strstr(argv[5], "overlap") != NULL;
	replaces = strncmp(argv[5], "reattach", strlen("reattach")) != 0;
	n = (unsigned int)atoi(argv[6]);
	minimum = (unsigned int)atoi(argv[7]);
	if (node_open(argv[1], 60000, &node, &error) < 0)
		errx(1, "%s", error.message);
	(void)snprintf(program, sizeof(program), "%s/programs/%s", argv[2], argv[3]);
	attach(node, program, argv[4], link);
	before[0] = slot_count(node, argv[2], 0);
	before[1] = slot_count(node, argv[2], 1);
	lost = dropped(argv[8]);
	begun = clock_monotonic_ns();
	if (pthread_create(&thread, NULL, flood, &sender) != 0)
		errx(2, "pthread_create");
	for (unsigned int i = 0; i < n || atomic_load(&sender.sent) < minimum; i++) {
		if (replaces) {
			replace(node, argv[2], overlaps ? "bundles/links" : "bundles/flood",
				(i + 1) & 1);
		} else {
			detach(node, link);
			attach(node, program, argv[4], link);
		}
		if (clock_monotonic_ns() - begun > LIMIT_S * NS_PER_SEC)
			errx(1, "after %d s it is at number %u, with %llu packets", LIMIT_S, i + 1,
			     (unsigned long long)atomic_load(&sender.sent));
	}
	atomic_store(&sender.stop, true);
	(void)pthread_join(thread, NULL);
	sent = atomic_load(&sender.sent);
	/* What is still in a queue on its way: until none comes any more. */
	do {
		total = counts[0] + counts[1];
		(void)usleep(200000);
		for (unsigned int i = 0; i < 2; i++)
			counts[i] = slot_count(node, argv[2], i) - before[i];
	} while (counts[0] + counts[1] != total);
	lost = dropped(argv[8]) - lost;
	if (overlaps) {
		first = slot_count(node, argv[2], FLOOD_FIRST);
		again = slot_count(node, argv[2], FLOOD_AGAIN);
		if (sent > FLOOD_NUMBERS)
			errx(1, "%llu packets were sent, more than there are numbers", sent);
		printf("%llu seen at all, %llu of them again; ", first, again);
	}
	printf("sent %llu - %llu dropped before the hook, counted %llu + %llu = %llu in %llu ms\n",
	       sent, lost, counts[0], counts[1], counts[0] + counts[1],
	       (unsigned long long)((clock_monotonic_ns() - begun) / NS_PER_MS));
	detach(node, link);
	node_close(node);
	return sent - lost == (overlaps ? first : counts[0] + counts[1]) ? 0 : 1;
}
