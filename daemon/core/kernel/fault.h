/*
 * For tests: makes the n-th bpf(2) or perf_event_open(2) of the process fail. A program that links
 * bpfleet_kernel_fault has its own syscall(2), which libbpf, too, then calls; the kernel layer
 * itself knows nothing of it.
 */
#pragma once

/* The nth call from now (1: the next) fails with sys_errno and is not made; 0: none does. */
void kernel_fault_arm(unsigned int nth, int sys_errno);
/* Calls since kernel_fault_arm(). */
unsigned int kernel_fault_calls(void);

/* In the environment of a program: "N:ERRNO", as numbers; arms it before main(). */
#define KERNEL_FAULT_VARIABLE "BPFLEET_FAULT_BPF"
