/* What the programs of foreign.bpf.c write about a program or a link, one after the other. */
#pragma once

#include <linux/types.h>

#define FOREIGN_TYPE_UNKNOWN (~0u)

struct foreign_record {
	__u32 is_link;
	__u32 id;	    /* kernel's */
	__u32 type;	    /* enum bpf_prog_type, of a link bpf_link_type */
	__u32 attach_type;  /* of a link, enum bpf_attach_type, or FOREIGN_TYPE_UNKNOWN */
	__u32 program_id;   /* of a link: what it runs */
	__u32 uid;	    /* of a program: whose process loaded it */
	__u32 ifindex;	    /* of a link on an interface, else 0 */
	__u32 netns;	    /* inode number of the network namespace, 0: none */
	__u64 cgroup_id;    /* of a link on a cgroup, else 0 */
	__u64 loaded_at_ns; /* of a program, CLOCK_BOOTTIME */
	__u8 tag[8];
	char name[16];
	char function[64]; /* of a link: what its tracing program is bound to; empty: nothing */
};
