#define _GNU_SOURCE
#include "daemon/core/kernel/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_uint n_calls;
static atomic_uint fatal_call;
static atomic_int fatal_errno;

void kernel_fault_arm(unsigned int nth, int sys_errno)
{
	atomic_store(&fatal_call, 0);
	atomic_store(&n_calls, 0);
	atomic_store(&fatal_errno, sys_errno);
	atomic_store(&fatal_call, nth);
}

unsigned int kernel_fault_calls(void)
{
	return atomic_load(&n_calls);
}

__attribute__((constructor)) static void arm_from_environment(void)
{
	const char *text = getenv(KERNEL_FAULT_VARIABLE);
	unsigned int nth;
	int sys_errno;

	if (text != NULL && sscanf(text, "%u:%d", &nth, &sys_errno) == 2)
		kernel_fault_arm(nth, sys_errno);
}

static bool is_fatal(long number)
{
	if (number != SYS_bpf && number != SYS_perf_event_open)
		return false;
	return atomic_fetch_add(&n_calls, 1) + 1 == atomic_load(&fatal_call);
}

/* Stands before the C library's, also for shared libraries. */
long syscall(long number, ...)
{
	static long (*_Atomic real)(long, ...);
	long (*next)(long, ...) = atomic_load(&real);
	va_list args;
	long a[6];

	if (next == NULL) {
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
		atomic_store(&real, next);
	}
	if (is_fatal(number)) {
		errno = atomic_load(&fatal_errno);
		return -1;
	}
	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
