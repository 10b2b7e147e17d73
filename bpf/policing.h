/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the policer: a token bucket that reads the clock only when it runs low.
 *
 * A token is 1e-6 bit, so that ns times kbit/s needs no division and nothing is rounded away. A full bucket that has
 * not been looked at may be filled once more as soon as it is empty, so its depth is half of the configured burst:
 * back to back never more than the burst passes. */
#ifndef XEPC_POLICING_H
#define XEPC_POLICING_H

#include "layout.h"

#define TOKENS_PER_OCTET 8000000LL

/* Half of the configured burst, ns; at most 1 s, so that it times the highest rate stays below 2^63. */
volatile const __u64 half_burst = 125000000;

/* refill credits the time since the last refill, once among all CPUs; true when cost is covered now. */
__noinline int refill(struct meter *m, __u64 rate, __s64 cost)
{
	__u64 now = bpf_ktime_get_ns(), last;
	__u64 limit = half_burst;
	__s64 depth = rate * half_burst;
	__s64 credit, room;

	if (!m) /* never; this function is global, so that it is verified once, and the verifier cannot know */
		return false;
	last = READ_ONCE(m->last);
	/* Signed: another CPU may have stored a later time than we read. */
	if ((__s64)(now - last) <= 0)
		return READ_ONCE(m->tokens) >= cost;
	if (depth < cost) { /* a slow policer still lets a whole packet through, in its time */
		depth = cost;
		limit = 1ULL << 40;
	}
	credit = now - last >= limit ? depth : (__s64)((now - last) * rate);
	if (__sync_val_compare_and_swap(&m->last, last, now) == last) {
		room = depth - READ_ONCE(m->tokens);
		__sync_fetch_and_add(&m->tokens, credit < room ? credit : room);
	}
	return READ_ONCE(m->tokens) >= cost;
}

/* allows says whether the tokens of a packet are there. It takes none: a packet may have to pass several policers, and
 * is charged to all or to none. */
static __always_inline bool allows(struct meter *m, __u32 octets)
{
	__u32 rate = READ_ONCE(m->rate);
	__s64 cost = octets * TOKENS_PER_OCTET;

	return !rate || likely(READ_ONCE(m->tokens) >= cost) || refill(m, rate, cost);
}

/* debit takes the tokens. CPUs that take at the same time may leave the bucket in debt by a packet each; it is paid
 * back. */
static __always_inline void debit(struct meter *m, __u32 octets)
{
	if (READ_ONCE(m->rate))
		__sync_fetch_and_add(&m->tokens, -(octets * TOKENS_PER_OCTET));
}

#endif
