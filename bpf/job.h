/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the job: what the first half of the pipeline finds and the second half does. */
#ifndef XEPC_JOB_H
#define XEPC_JOB_H

#include "entries.h"

/* A packet and what its rules want done with it. Plain numbers, no pointers: so the functions that work on it can be
 * global, which the verifier looks at once instead of once for every way that leads to them. */
struct job {
	struct found at; /* its word is the rule's */
	__u32 rule;      /* index of rules; 0: the entry's own */
	__u32 offset;    /* of the inner packet in the frame */
	__u32 octets;    /* of the inner packet */
	__u32 instance;  /* downlink: where it came in */
	__u32 verdict;   /* of a packet that is sent */
	__u32 mtu;       /* of a packet that does not fit: what would; else 0 */
	__u8 by_teid;    /* at.slot is of uplink, not of downlink */
	__u8 direction;
	__u8 family; /* FILTER_IPV4 or FILTER_IPV6 */
	__u8 qfi;
};

/* separate keeps the compiler from making one look-up of two in different maps: the verifier puts a look-up in an array
 * in line, as three instructions, only where it knows which. */
#define separate() asm volatile("" ::: "memory")

static __always_inline struct entry *entry_of(const struct job *job)
{
	__u32 slot = job->at.slot;
	struct entry *entry;

	if (job->by_teid) {
		entry = bpf_map_lookup_elem(&uplink, &slot);
		separate();
	} else {
		entry = bpf_map_lookup_elem(&downlink, &slot);
	}
	return entry;
}

static __always_inline struct rule *rule_of(const struct job *job)
{
	__u32 number = job->rule;

	return number ? bpf_map_lookup_elem(&rules, &number) : NULL;
}

/* is_routed: between UE and control plane, from tunnel to tunnel, nobody is a router. A router solicitation or
 * advertisement whose hop limit is not 255 any more is discarded (RFC 4861 6.1). */
static __always_inline bool is_routed(const struct job *job)
{
	return !(job->by_teid && job->at.word.flags & ENTRY_TUNNEL);
}

#endif
