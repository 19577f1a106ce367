#include "base/clock.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_realtime_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

uint64_t clock_monotonic_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int clock_poll_ms(uint64_t deadline)
{
	uint64_t now, left_ms;

	if (deadline == UINT64_MAX)
		return -1;
	now = clock_monotonic_ns();
	if (deadline <= now)
		return 0;
	left_ms = (deadline - now + NS_PER_MS - 1) / NS_PER_MS;
	return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

void clock_format_rfc3339(uint64_t realtime_ns, char out[static CLOCK_RFC3339_LEN])
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_SEC);
	char date[24];
	struct tm tm;

	(void)gmtime_r(&seconds, &tm);
	(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out, CLOCK_RFC3339_LEN, "%.19s.%09uZ", date,
		       (unsigned int)(realtime_ns % NS_PER_SEC));
}
