/* For tests: BPF maps, and a program that puts numbered records into a ring buffer. Needs root. */
#pragma once

#include <stdint.h>

/* All return an fd, or a negative errno. */
int test_hash_map(uint32_t n_entries);
int test_ring_buffer(uint32_t size_bytes);
/* An array of one 16-byte value; its second half is where drops are counted. */
int test_counter_map(void);
/* Each run puts one record of 8 bytes, the number of the run as kept in the counter map's first
 * half. */
int test_producer(int ring_fd, int counter_fd);
/* Each run puts one record of 8 bytes into the perf buffer of the CPU it runs on. */
int test_perf_producer(int perf_fd);
/* Runs it n times. Asserts success. */
void test_produce(int program_fd, uint32_t n);
