// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Fifty programs of one object. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define PROGRAM(n)                         \
	SEC("xdp")                         \
	int program##n(struct xdp_md *ctx) \
	{                                  \
		return (n) % 2 + 1;        \
	}
/* A list in a macro is laid out differently at every run of clang-format. */
/* clang-format off */
#define TEN(n)                                                                 \
	PROGRAM(n##0) PROGRAM(n##1) PROGRAM(n##2) PROGRAM(n##3) PROGRAM(n##4)  \
	PROGRAM(n##5) PROGRAM(n##6) PROGRAM(n##7) PROGRAM(n##8) PROGRAM(n##9)

TEN(1) TEN(2) TEN(3) TEN(4) TEN(5)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
