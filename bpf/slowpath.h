/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the way of whole packets to user space: those that a FAR buffers, copies of those that it
 * duplicates, and those that are to leave in fragments, neither of which XDP can make: see docs/decisions. */
#ifndef XEPC_SLOWPATH_H
#define XEPC_SLOWPATH_H

#include "job.h"
#include "maps.h"
#include "parse.h"

/* The interface that user space gives packets back by. */
volatile const __u32 injector;

enum {
	PARKED_OCTETS = 2048, /* of one packet: more than any port's MTU that this program is for */
};

struct park_head {
	__u32 slot; /* of its entry */
	__u32 rule; /* index of rules; 0: the entry's own */
	__u32 octets;
	__u16 by_teid; /* the slot is of uplink, not of downlink */
	__u16 gated;   /* it counts in its entry's gate */
	__u32 generation; /* of that gate */
	__u32 pad;
};

struct parked {
	struct park_head head;
	__u8 packet[PARKED_OCTETS]; /* the inner IP packet */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} parking SEC(".maps");

static __always_inline struct gate *gate_of(__u32 slot)
{
	__u32 index = slot & (GATES - 1);

	return bpf_map_lookup_elem(&gates, &index);
}

/* is_open says whether no packet has to wait before a new one. What has returned is read first: a packet that is parked
 * meanwhile closes the gate. */
static __always_inline bool is_open(struct gate *gate)
{
	__u64 returned = READ_ONCE(gate->returned);

	return (__s64)(returned - READ_ONCE(gate->parked)) >= 0;
}

/* park hands a packet to the slow path; gated: it waits for others of its entry. False when the ring is full.
 * (bpf_xdp_load_bytes: Linux 5.18.) */
__noinline int park(struct xdp_md *ctx, const struct job *job, __u32 gated)
{
	struct parked *p;
	struct gate *gate;
	__u32 octets;

	if (!job)
		return false;
	octets = job->octets;
	if (octets < 1 || octets > PARKED_OCTETS)
		return false;
	p = bpf_ringbuf_reserve(&parking, sizeof(*p), 0);
	if (!p)
		return false;
	p->head.slot = job->at.slot;
	p->head.rule = job->rule;
	p->head.octets = octets;
	p->head.by_teid = job->by_teid;
	p->head.gated = gated;
	p->head.generation = 0;
	p->head.pad = 0;
	if (bpf_xdp_load_bytes(ctx, job->offset, p->packet, bounded(octets - 1, PARKED_OCTETS - 1) + 1)) {
		bpf_ringbuf_discard(p, 0);
		return false;
	}
	gate = gated ? gate_of(job->at.slot) : NULL;
	if (gate) {
		__sync_fetch_and_add(&gate->parked, 1);
		p->head.generation = READ_ONCE(gate->generation);
	}
	bpf_ringbuf_submit(p, 0);
	return true;
}

enum copy_kind {
	COPY_DUPLICATE,
	COPY_FRAGMENT, /* no copy: the packet itself, routed and charged */
	COPY_ROUTED,   /* likewise, and it leaves without tunnel */
};

/* A packet that user space sends: a copy into a tunnel, or one that is to leave in fragments. The addresses stand here, since
 * the peer may be another's when user space reads it. */
struct copy_head {
	__be64 local6[2];
	__be64 remote6[2];
	__be32 local;
	__be32 remote; /* 0: IPv6 */
	__be32 teid;
	__u32 octets;
	__u8 tos; /* of the outer header */
	__u8 qfi; /* as in struct peer */
	__u16 pad;
	enum copy_kind kind;
	__u32 hop; /* index of next_hops, of what leaves without tunnel */
	__u32 pad2;
};

struct copy {
	struct copy_head head;
	__u8 packet[PARKED_OCTETS]; /* the inner IP packet; of a short one as many as SHORT_OCTETS */
};

enum {
	SHORT_OCTETS = 512, /* most packets: four times as many fit into the ring */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} copies SEC(".maps");

enum copy_outcome {
	COPY_MADE,
	COPY_LOST, /* the ring was full, or the packet longer than fits */
	COPY_OUTCOMES,
};

/* Copies by outcome. Per CPU, like reasons. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, enum copy_outcome);
	__type(value, __u64);
	__uint(max_entries, COPY_OUTCOMES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} copy_outcomes SEC(".maps");

/* put_copy: most is a constant power of two, and octets are of 1 to most. */
static __always_inline bool put_copy(struct xdp_md *ctx, const struct word *to, const struct peer *peer, __u32 offset,
				     __u32 octets, __u32 most, enum copy_kind kind)
{
	struct copy *copy = bpf_ringbuf_reserve(&copies, sizeof(copy->head) + most, 0);

	if (!copy)
		return false;
	__builtin_memcpy(copy->head.local6, peer->local6, sizeof(peer->local6));
	__builtin_memcpy(copy->head.remote6, peer->remote6, sizeof(peer->remote6));
	copy->head.local = peer->local;
	copy->head.remote = peer->remote;
	copy->head.teid = to->value;
	copy->head.octets = octets;
	copy->head.tos = peer->tos;
	copy->head.qfi = peer->qfi;
	copy->head.kind = kind;
	copy->head.pad = 0;
	copy->head.pad2 = 0;
	copy->head.hop = to->to;
	if (bpf_xdp_load_bytes(ctx, offset, copy->packet, bounded(octets - 1, most - 1) + 1)) {
		bpf_ringbuf_discard(copy, 0);
		return false;
	}
	bpf_ringbuf_submit(copy, 0);
	return true;
}

static __always_inline bool make_copy(struct xdp_md *ctx, const struct word *to, __u32 offset, __u32 octets,
				      enum copy_kind kind)
{
	__u32 index = kind == COPY_ROUTED ? 0 : to->to; /* peer 0 is nobody */
	struct peer *peer = bpf_map_lookup_elem(&peers, &index);

	if (!peer || octets < 1 || octets > PARKED_OCTETS)
		return false;
	if (octets <= SHORT_OCTETS)
		return put_copy(ctx, to, peer, offset, octets, SHORT_OCTETS, kind);
	return put_copy(ctx, to, peer, offset, octets, PARKED_OCTETS, kind);
}

/* make_copies hands the copies that a rule wants of the packet to the slow path. What becomes of the packet does not
 * depend on it. */
__noinline int make_copies(struct xdp_md *ctx, __u32 index, __u32 offset, __u32 octets)
{
	struct special *special = bpf_map_lookup_elem(&specials, &index);

	if (!special)
		return 0;
	for (int i = 0; i < RULE_COPIES && special->copies[i].flags; i++) {
		enum copy_outcome outcome = make_copy(ctx, &special->copies[i], offset, octets, COPY_DUPLICATE) ? COPY_MADE : COPY_LOST;
		__u64 *packets = bpf_map_lookup_elem(&copy_outcomes, &outcome);

		if (packets)
			(*packets)++;
	}
	return 0;
}

/* leave_in_fragments has user space send the packet of job itself. */
__noinline int leave_in_fragments(struct xdp_md *ctx, const struct job *job)
{
	if (!job)
		return false;
	return make_copy(ctx, &job->at.word, job->offset, job->octets,
			 job->at.word.flags & ENTRY_TUNNEL ? COPY_FRAGMENT : COPY_ROUTED);
}

#endif
