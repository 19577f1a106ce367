/*
 * Has a USDT probe at two places: calls it N times when a line comes in, and says afterwards
 * whether somebody was listening.
 */
#define _SDT_HAS_SEMAPHORES 1
#include <stdio.h>
#include <stdlib.h>
#include <sys/sdt.h>

unsigned short demo_tick_semaphore __attribute__((section(".probes")));

struct point {
	long x;
	signed char y;
};

__attribute__((noinline)) static void tick(long i, const struct point *point)
{
	STAP_PROBE4(demo, tick, i, (short)-3, point->x, point->y);
}

__attribute__((noinline)) static void tock(long i)
{
	STAP_PROBE4(demo, tick, i, 1000, (unsigned int)i * 2u, (unsigned char)250);
}

int main(int argc, char **argv)
{
	const struct point point = { .x = 1L << 40, .y = -5 };
	const long n = argc > 1 ? atol(argv[1]) : 1;
	char line[16];

	(void)printf("ready\n");
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		for (long i = 0; i < n; i++) {
			tick(i, &point);
			tock(i);
		}
		(void)printf("%s\n", demo_tick_semaphore > 0 ? "heard" : "alone");
		(void)fflush(stdout);
	}
	return 0;
}
