/* Programs of the host that bpfleet did not load: listed for those who may read the audit log. */
#include <bpf/libbpf.h>
#include <net/if.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "daemon/core/convert.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/foreign.h"
#include "daemon/core/methods.h"
#include "proto/arena.h"

#define PAGE_MAX 1000u

/* A ListForeignPrograms on its way. */
struct listing {
	struct job job;
	struct request *request;
	uint64_t after; /* kernel id */
	size_t page_size;
	struct foreign_record *records;
	size_t n;
	Bpfleet__V1__ListForeignProgramsResponse *response;
	int r;
	struct error err;
};

static void listing_free(struct listing *listing)
{
	free(listing->records);
	free(listing);
}
DEFINE_CLEANUP(struct listing, listing_free)

/* What a link is on, as far as it can be said without being there. */
static char *place_of(struct arena *arena, const struct foreign_record *link, uint64_t own_netns)
{
	const char *type = link->attach_type != FOREIGN_TYPE_UNKNOWN
				   ? libbpf_bpf_attach_type_str(link->attach_type)
				   : libbpf_bpf_link_type_str(link->type);
	char name[IF_NAMESIZE] = "";

	type = type != NULL ? type : "unknown";
	if (link->ifindex != 0 && link->netns == own_netns &&
	    if_indextoname(link->ifindex, name) != NULL)
		return arena_printf(arena, "%s %s", type, name);
	if (link->ifindex != 0)
		return arena_printf(arena, "%s interface %u of network namespace %u", type,
				    link->ifindex, link->netns);
	if (link->netns != 0)
		return arena_printf(arena, "%s network namespace %u", type, link->netns);
	if (link->cgroup_id != 0)
		return arena_printf(arena, "%s cgroup %llu", type,
				    (unsigned long long)link->cgroup_id);
	return arena_printf(arena, "%s%s%.*s", type, link->function[0] != '\0' ? " " : "",
			    (int)sizeof(link->function), link->function);
}

static int add_links(struct listing *listing, Bpfleet__V1__ForeignProgram *program,
		     uint64_t own_netns, struct error *err)
{
	struct arena *arena = listing->request->arena;
	size_t n = 0;

	for (size_t i = 0; i < listing->n; i++)
		n += listing->records[i].is_link &&
		     listing->records[i].program_id == program->kernel_id;
	program->links = arena_alloc(arena, (n + 1) * sizeof(*program->links));
	for (size_t i = 0; i < listing->n && program->links != NULL; i++) {
		const struct foreign_record *record = &listing->records[i];
		Bpfleet__V1__ForeignLink *link;

		if (!record->is_link || record->program_id != program->kernel_id)
			continue;
		link = arena_alloc(arena, sizeof(*link));
		if (link == NULL)
			break;
		bpfleet__v1__foreign_link__init(link);
		link->kernel_id = record->id;
		link->hook = place_of(arena, record, own_netns);
		if (link->hook == NULL)
			break;
		program->links[program->n_links++] = link;
	}
	return program->n_links == n ? 0 : error_raise(err, ERROR_OUT_OF_MEMORY, "list links");
}

static int add_program(struct listing *listing, const struct foreign_record *record,
		       uint64_t own_netns, uint64_t booted_at_ns, struct error *err)
{
	Bpfleet__V1__ListForeignProgramsResponse *response = listing->response;
	struct arena *arena = listing->request->arena;
	Bpfleet__V1__ForeignProgram *program = arena_alloc(arena, sizeof(*program));
	const char *type = libbpf_bpf_prog_type_str(record->type);
	int r;

	if (program == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list programs");
	bpfleet__v1__foreign_program__init(program);
	program->kernel_id = record->id;
	program->name = arena_strndup(arena, record->name, strnlen(record->name, 16));
	program->type = (char *)(uintptr_t)(type != NULL ? type : "unknown");
	program->loaded_by_uid = record->uid;
	program->loaded_at_ns = booted_at_ns + record->loaded_at_ns;
	r = convert_bytes(arena, record->tag, sizeof(record->tag), &program->tag, err);
	if (r >= 0)
		r = add_links(listing, program, own_netns, err);
	response->programs[response->n_programs++] = program;
	return r >= 0 && program->name == NULL
		       ? error_raise(err, ERROR_OUT_OF_MEMORY, "list programs")
		       : r;
}

static int fill(struct listing *listing, struct error *err)
{
	struct arena *arena = listing->request->arena;
	Bpfleet__V1__ListForeignProgramsResponse *response = arena_alloc(arena, sizeof(*response));
	struct timespec since_boot = { 0 };
	struct stat netns = { 0 };
	uint64_t booted_at_ns;
	int r = 0;

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list programs");
	bpfleet__v1__list_foreign_programs_response__init(response);
	listing->response = response;
	response->programs = arena_alloc(arena, listing->page_size * sizeof(*response->programs));
	if (response->programs == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list programs");
	(void)clock_gettime(CLOCK_BOOTTIME, &since_boot);
	booted_at_ns = clock_realtime_ns() - (uint64_t)since_boot.tv_sec * NS_PER_SEC -
		       (uint64_t)since_boot.tv_nsec;
	(void)stat("/proc/self/ns/net", &netns);
	for (size_t i = 0; r >= 0 && i < listing->n; i++) {
		const struct foreign_record *record = &listing->records[i];

		if (record->is_link || record->id <= listing->after)
			continue;
		if (response->n_programs == listing->page_size) {
			response->next_page_token = arena_printf(
				arena, "%u",
				response->programs[response->n_programs - 1]->kernel_id);
			break;
		}
		r = add_program(listing, record, netns.st_ino, booted_at_ns, err);
	}
	return response->next_page_token == NULL
		       ? error_raise(err, ERROR_OUT_OF_MEMORY, "list programs")
		       : r;
}

/* Nothing else uses the request's arena meanwhile. */
static void listing_work(struct job *job)
{
	struct listing *listing = (struct listing *)(void *)job;

	listing->r = kernel_foreign_list(&listing->records, &listing->n, &listing->err);
	if (listing->r >= 0)
		listing->r = fill(listing, &listing->err);
}

static void listing_done(struct job *job)
{
	_cleanup_(listing_freep) struct listing *listing = (struct listing *)(void *)job;

	if (listing->r < 0)
		request_fail(listing->request, &listing->err);
	else
		request_reply(listing->request, &listing->response->base);
}

int serve_list_foreign_programs(struct request *request, ProtobufCMessage **ret_response,
				struct error *err)
{
	const Bpfleet__V1__ListForeignProgramsRequest *message = (const void *)request->message;
	_cleanup_(listing_freep) struct listing *listing = calloc(1, sizeof(*listing));
	int r = request_authorize(request, POLICY_VERB_AUDIT, NULL, NULL, NULL, err);

	(void)ret_response;
	if (r < 0)
		return r;
	if (listing == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list programs");
	listing->request = request;
	listing->page_size = message->page_size == 0 ? 100 : message->page_size;
	if (listing->page_size > PAGE_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "page_size is at most %u",
				   PAGE_MAX);
	if (message->page_token[0] != '\0' &&
	    str_to_u64(message->page_token, UINT32_MAX, &listing->after) < 0)
		return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
	listing->job = (struct job){ .work = listing_work, .done = listing_done };
	jobs_submit(request->core->jobs, &TAKE_PTR(listing)->job);
	return REQUEST_PENDING;
}
