#include "daemon/core/kernel/migrate-program.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

/*
 * The program and this process share the one value of an array, the job: the key, the CPU, and the
 * old map's value, converted, as it was when it was copied and as it was at the end. For each
 * member the program compares the two and changes the entry; then it makes `was` equal to `now`, so
 * that running it again does nothing twice.
 *
 * Registers: r6 `was`, r7 the entry's value, r8 the result, r9 `now`.
 */
enum verdict { VERDICT_DONE, VERDICT_NO_ENTRY, VERDICT_AGAIN };

/* Attempts of one run to raise a maximum, and runs of one merge. */
#define RAISES 2
#define RUNS_MAX 10000

struct merge_program {
	const struct map_plan *plan;
	size_t key_size;
	int fd;
	int job_fd;
	uint8_t *job; /* mapped */
	size_t mapped;
	size_t cpu_at, was_at, now_at; /* in the job */
	/* of the generator */
	struct bpf_insn *insns;
	size_t n_insns, capacity;
	bool failed;
};

/* ---- instructions (Documentation/bpf/standardization/instruction-set.rst of the kernel) */

static size_t emit(struct merge_program *program, int code, unsigned int dst, unsigned int src,
		   size_t off, int imm)
{
	struct bpf_insn *insns;

	if (program->n_insns == program->capacity) {
		program->capacity = program->capacity * 2 + 256;
		insns = reallocarray(program->insns, program->capacity, sizeof(*insns));
		if (insns == NULL) {
			program->failed = true;
			program->capacity = program->n_insns;
			return 0;
		}
		program->insns = insns;
	}
	program->insns[program->n_insns] = (struct bpf_insn){
		.code = (__u8)code,
		.dst_reg = dst & 0xf,
		.src_reg = src & 0xf,
		.off = (__s16)off,
		.imm = imm,
	};
	return program->n_insns++;
}

static void emit_address(struct merge_program *program, unsigned int dst, unsigned int kind,
			 int map_fd, size_t at)
{
	emit(program, BPF_LD | BPF_DW | BPF_IMM, dst, kind, 0, map_fd);
	emit(program, 0, 0, 0, 0, (int)at);
}

static int width(size_t n)
{
	return n == 8 ? BPF_DW : n == 4 ? BPF_W : n == 2 ? BPF_H : BPF_B;
}

static void emit_load(struct merge_program *program, unsigned int dst, unsigned int base,
		      size_t off, size_t n)
{
	emit(program, BPF_LDX | BPF_MEM | width(n), dst, base, off, 0);
}

static void emit_store(struct merge_program *program, unsigned int base, size_t off,
		       unsigned int src, size_t n)
{
	emit(program, BPF_STX | BPF_MEM | width(n), base, src, off, 0);
}

static void emit_atomic(struct merge_program *program, size_t off, unsigned int src, size_t n,
			int operation)
{
	emit(program, BPF_STX | BPF_ATOMIC | width(n), BPF_REG_7, src, off, operation);
}

/* A jump whose target emit_target() sets. */
static size_t emit_jump(struct merge_program *program, int operation, unsigned int dst,
			unsigned int src, size_t n)
{
	return emit(program, (n == 4 ? BPF_JMP32 : BPF_JMP) | operation | BPF_X, dst, src, 0, 0);
}

static void emit_target(struct merge_program *program, size_t jump)
{
	if (!program->failed)
		program->insns[jump].off = (__s16)(program->n_insns - jump - 1);
}

/* ---- members */

static void emit_sum(struct merge_program *program, size_t off, size_t n)
{
	size_t jump;

	emit_load(program, BPF_REG_1, BPF_REG_9, off, n);
	emit_load(program, BPF_REG_2, BPF_REG_6, off, n);
	jump = emit_jump(program, BPF_JEQ, BPF_REG_1, BPF_REG_2, n);
	emit_store(program, BPF_REG_6, off, BPF_REG_1, n);
	emit(program, BPF_ALU64 | BPF_SUB | BPF_X, BPF_REG_1, BPF_REG_2, 0, 0);
	emit_atomic(program, off, BPF_REG_1, n, BPF_ADD);
	emit_target(program, jump);
}

static void emit_max(struct merge_program *program, size_t off, size_t n, bool is_signed)
{
	size_t done[2 * RAISES];

	emit_load(program, BPF_REG_1, BPF_REG_9, off, n);
	for (int i = 0; i < RAISES; i++) {
		emit_load(program, BPF_REG_0, BPF_REG_7, off, n);
		done[2 * i] =
			emit_jump(program, is_signed ? BPF_JSGE : BPF_JGE, BPF_REG_0, BPF_REG_1, n);
		emit(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_0, 0, 0);
		emit_atomic(program, off, BPF_REG_1, n, BPF_CMPXCHG);
		done[2 * i + 1] = emit_jump(program, BPF_JEQ, BPF_REG_0, BPF_REG_3, n);
	}
	emit(program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_8, 0, 0, VERDICT_AGAIN);
	for (size_t i = 0; i < ARRAY_SIZE(done); i++)
		emit_target(program, done[i]);
}

static void emit_newest(struct merge_program *program, size_t off, size_t n)
{
	size_t jump;

	emit_load(program, BPF_REG_1, BPF_REG_9, off, n);
	emit_load(program, BPF_REG_0, BPF_REG_6, off, n);
	jump = emit_jump(program, BPF_JEQ, BPF_REG_0, BPF_REG_1, n);
	emit_store(program, BPF_REG_6, off, BPF_REG_1, n);
	emit_atomic(program, off, BPF_REG_1, n, BPF_CMPXCHG);
	emit_target(program, jump);
}

/* The largest aligned piece at off. */
static size_t piece(size_t off, size_t end)
{
	size_t n = 8;

	while (off % n != 0 || off + n > end)
		n /= 2;
	return n;
}

/* Bytes that count as one: all are taken or none. */
static void emit_newest_bytes(struct merge_program *program, size_t begin, size_t end)
{
	size_t *changed = calloc(2 * (end - begin) + 1, sizeof(*changed));
	size_t n_changed = 0, n_written = 0, n, same;
	size_t *written = changed != NULL ? changed + (end - begin) : NULL;

	if (changed == NULL) {
		program->failed = true;
		return;
	}
	for (size_t off = begin; off < end; off += n) {
		n = piece(off, end);
		emit_load(program, BPF_REG_1, BPF_REG_9, off, n);
		emit_load(program, BPF_REG_2, BPF_REG_6, off, n);
		changed[n_changed++] =
			emit(program, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_2, 0, 0);
	}
	same = emit(program, BPF_JMP | BPF_JA, 0, 0, 0, 0);
	for (size_t i = 0; i < n_changed; i++)
		emit_target(program, changed[i]);
	for (size_t off = begin; off < end; off += n) {
		n = piece(off, end);
		emit_load(program, BPF_REG_1, BPF_REG_7, off, n);
		emit_load(program, BPF_REG_2, BPF_REG_6, off, n);
		written[n_written++] =
			emit(program, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_2, 0, 0);
	}
	for (size_t off = begin; off < end; off += n) {
		n = piece(off, end);
		emit_load(program, BPF_REG_1, BPF_REG_9, off, n);
		emit_store(program, BPF_REG_7, off, BPF_REG_1, n);
		emit_store(program, BPF_REG_6, off, BPF_REG_1, n);
	}
	for (size_t i = 0; i < n_written; i++)
		emit_target(program, written[i]);
	emit_target(program, same);
	free(changed);
}

static void emit_member(struct merge_program *program, const struct map_member *member)
{
	const size_t off = member->new_bit / 8, n = member->new_bits / 8;
	const bool is_atomic = !member->is_bytes && (n == 4 || n == 8) && off % n == 0;

	/* Bit-fields keep what the new programs have: neighbours share their bytes. */
	if (member->rule == BPFLEET__V1__MERGE__MERGE_RESET || member->new_bit % 8 != 0 ||
	    member->new_bits % 8 != 0 || n == 0)
		return;
	if (member->rule == BPFLEET__V1__MERGE__MERGE_SUM)
		emit_sum(program, off, n);
	else if (member->rule == BPFLEET__V1__MERGE__MERGE_MAX)
		emit_max(program, off, n, member->is_new_signed);
	else if (is_atomic)
		emit_newest(program, off, n);
	else
		emit_newest_bytes(program, off, off + n);
}

static void generate(struct merge_program *program, const struct mapread_map *map)
{
	size_t found;

	emit_address(program, BPF_REG_1, BPF_PSEUDO_MAP_FD, map->fd, 0);
	emit_address(program, BPF_REG_2, BPF_PSEUDO_MAP_VALUE, program->job_fd, 0);
	if (map->n_cpus > 0)
		emit_load(program, BPF_REG_3, BPF_REG_2, program->cpu_at, sizeof(uint32_t));
	emit(program, BPF_JMP | BPF_CALL, 0, 0, 0,
	     map->n_cpus > 0 ? BPF_FUNC_map_lookup_percpu_elem : BPF_FUNC_map_lookup_elem);
	found = emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_0, 0, 0, 0);
	emit(program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, VERDICT_NO_ENTRY);
	emit(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	emit_target(program, found);
	emit(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0);
	emit(program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_8, 0, 0, VERDICT_DONE);
	emit_address(program, BPF_REG_6, BPF_PSEUDO_MAP_VALUE, program->job_fd, program->was_at);
	emit_address(program, BPF_REG_9, BPF_PSEUDO_MAP_VALUE, program->job_fd, program->now_at);
	for (size_t i = 0; i < program->plan->n_members; i++)
		emit_member(program, &program->plan->members[i]);
	emit(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_0, BPF_REG_8, 0, 0);
	emit(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* ---- the job */

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static int make_job(struct merge_program *program, const struct mapread_map *map, struct error *err)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	const size_t value = round_up(program->plan->new_value_size, 8);
	void *job;

	program->cpu_at = round_up(map->key_size, 8);
	program->was_at = program->cpu_at + 8;
	program->now_at = program->was_at + value;
	program->mapped = round_up(program->now_at + value, (size_t)sysconf(_SC_PAGESIZE));
	program->job_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "bpfleet_merge", sizeof(uint32_t),
					 (uint32_t)(program->now_at + value), 1, &opts);
	if (program->job_fd < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot make a map to merge entries with");
	job = mmap(NULL, program->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, program->job_fd, 0);
	if (job == MAP_FAILED)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot reach a map to merge entries with");
	program->job = job;
	return 0;
}

int merge_program_new(const struct map_plan *plan, const struct mapread_map *map,
		      struct merge_program **ret, struct error *err)
{
	_cleanup_(merge_program_freep) struct merge_program *program = calloc(1, sizeof(*program));
	int r;

	if (program == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot make a program");
	program->plan = plan;
	program->key_size = map->key_size;
	program->fd = -1;
	program->job_fd = -1;
	r = make_job(program, map, err);
	if (r < 0)
		return r;
	generate(program, map);
	if (program->failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot generate a program");
	/* This type may use every type of map, and its run stays in the calling thread. */
	program->fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "bpfleet_merge", "Dual BSD/GPL",
				    program->insns, program->n_insns, NULL);
	if (program->fd < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot load the program that merges entries");
	*ret = TAKE_PTR(program);
	return 0;
}

void merge_program_free(struct merge_program *program)
{
	if (program == NULL)
		return;
	if (program->job != NULL)
		(void)munmap(program->job, program->mapped);
	if (program->fd >= 0)
		(void)close(program->fd);
	if (program->job_fd >= 0)
		(void)close(program->job_fd);
	free(program->insns);
	free(program);
}

/* An entry that was not copied: its sums start at nothing, and what the new programs have stays. */
static void forget_copy(struct merge_program *program)
{
	uint8_t *was = program->job + program->was_at;
	const struct map_plan *plan = program->plan;

	memcpy(was, program->job + program->now_at, plan->new_value_size);
	for (size_t i = 0; i < plan->n_members; i++) {
		if (plan->members[i].rule == BPFLEET__V1__MERGE__MERGE_SUM)
			memset(was + plan->members[i].new_bit / 8, 0,
			       plan->members[i].new_bits / 8);
	}
}

int merge_program_run(struct merge_program *program, const void *key, uint32_t cpu,
		      const uint8_t *was, const uint8_t *now, bool *ret_found, struct error *err)
{
	/* An empty frame, which this type wants. */
	static const uint8_t frame[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	memcpy(program->job, key, program->key_size);
	memcpy(program->job + program->cpu_at, &cpu, sizeof(cpu));
	map_plan_convert(program->plan, now, program->job + program->now_at);
	if (was != NULL)
		map_plan_convert(program->plan, was, program->job + program->was_at);
	else
		forget_copy(program);
	for (int i = 0; i < RUNS_MAX; i++) {
		if (bpf_prog_test_run_opts(program->fd, &opts) < 0)
			return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
						 "cannot run the program that merges entries");
		if (opts.retval != VERDICT_AGAIN) {
			*ret_found = opts.retval == VERDICT_DONE;
			return 0;
		}
	}
	return error_raise(err, ERROR_UNAVAILABLE,
			   "an entry is written faster than its maximum can be merged");
}
