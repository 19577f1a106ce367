/* The two clocks bpfleet uses: UTC for what is recorded or shown, monotonic for deadlines. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NS_PER_SEC UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* UTC, nanoseconds since 1970. */
uint64_t clock_realtime_ns(void);

/* CLOCK_MONOTONIC, nanoseconds since boot; deadlines are points on it, UINT64_MAX means never. */
uint64_t clock_monotonic_ns(void);

/* Milliseconds until a deadline, rounded up and capped for poll(2): -1 never, 0 passed. */
int clock_poll_ms(uint64_t deadline);

#define CLOCK_RFC3339_LEN 31
/* Writes "2026-11-23T06:18:00.123456789Z" (RFC 3339, always nine digits) to out. */
void clock_format_rfc3339(uint64_t realtime_ns, char out[static CLOCK_RFC3339_LEN]);
