/* Numbers as people write and read them: durations, points in time, sizes. Pure functions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/str.h"

/*
 * "500ms", "10s", "1h30m", "2d"; units ns, us, ms, s, m, h, d; 0 needs none. -EINVAL, -ERANGE
 * beyond 100 years.
 */
_must_check_ int units_parse_duration(const char *text, uint64_t *ret_ns);

/* RFC 3339 ("2026-11-23T06:18:00Z", date alone, offsets), or a duration that is taken as ago. */
_must_check_ int units_parse_time(const char *text, uint64_t now_ns, uint64_t *ret_ns);

/* "512 B", "14.2 KiB", "16 MiB". */
int units_append_bytes(struct str *s, uint64_t bytes);
/* "350us", "1.2s", "3m 20s", "2h 5m", "12d 3h": two units at most. */
int units_append_duration(struct str *s, uint64_t ns);
/* "3m 20s ago", "in 5s", "just now" within a second; "-" for 0. */
int units_append_relative(struct str *s, uint64_t at_ns, uint64_t now_ns);
/* "2026-11-23 06:18:00Z"; "-" for 0. */
int units_append_time(struct str *s, uint64_t at_ns);
